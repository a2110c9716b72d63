"""What every model does to learn: compile, fit, evaluate, and single steps."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence

import numpy.typing as npt

from fastconv import _checks
from fastconv import losses as _losses
from fastconv import metrics as _metrics
from fastconv import optimizers as _optimizers
from fastconv._checks import Array, Shape
from fastconv.callbacks import Callback, _base
from fastconv.layers import Backprop, Step
from fastconv.losses import Loss
from fastconv.metrics import Metric
from fastconv.models import _examples, _training
from fastconv.models._history import History
from fastconv.models._layered import Layered
from fastconv.models._parts import Parts
from fastconv.models._progress import Progress, Verbosity, tracked
from fastconv.optimizers import Optimizer

ValidationData = (
    tuple[npt.ArrayLike, npt.ArrayLike] | tuple[npt.ArrayLike, npt.ArrayLike, npt.ArrayLike]
)


class Trained(Layered):
    """A model as something that learns from examples.

    Attributes
    ----------
    history
        The record of the last `fit`, as far as it got; None before the first.
    stop_training
        Set to True by a callback, it ends `fit` after the present step.
    """

    _seed: int
    _recipe: _training.Recipe | None = None
    _parts: Parts | None = None
    history: History | None = None
    stop_training = False

    # -- what a kind of model gives

    @abstractmethod
    def build(self, input_shape: Sequence[int | None]) -> None:
        """Make the weights for inputs of this shape, batch included, if there are none yet."""

    @property
    @abstractmethod
    def output_shape(self) -> Shape:
        """The shape of the output, with None for the batch."""

    @abstractmethod
    def __call__(self, x: npt.ArrayLike) -> Array:
        """Return the output for x, with nothing packed and nothing kept."""

    @abstractmethod
    def forward(self, x: npt.ArrayLike, *, training: bool | Step = False) -> tuple[Array, Backprop]:
        """Return ``(y, backprop)``, in the protocol of `Layer.forward`."""

    # -- learning

    def compile(
        self,
        optimizer: str | Optimizer,
        loss: str | Loss,
        *,
        metrics: Sequence[str | Metric] | None = None,
    ) -> None:
        """Say how the model is trained.

        Parameters
        ----------
        optimizer
            "sgd", "rmsprop", "adam", "adamw" or an `Optimizer`, which then trains this model alone.
        loss
            A name, such as "sparse_categorical_crossentropy" or "mse", or a `Loss`.
        metrics
            What else is measured, such as ``["accuracy"]``.
        """
        if isinstance(metrics, str) or not isinstance(metrics or (), Sequence):
            raise TypeError(f"metrics must be a list such as ['accuracy'], received {metrics!r}")
        measured = tuple(_metrics.get(metric) for metric in metrics or ())
        recipe = _training.Recipe(_optimizers.get(optimizer), _losses.get(loss), measured)
        if len(set(recipe.names())) < len(recipe.names()):
            raise ValueError(f"metrics must have names of their own, received {recipe.names()[1:]}")
        self._recipe = recipe

    @property
    def optimizer(self) -> Optimizer:
        """The optimizer that `compile` was given."""
        return self._compiled().optimizer

    @property
    def metric_modes(self) -> dict[str, str | None]:
        """For each metric "max" or "min", whichever is better, or None where it does not tell."""
        return {metric.name: metric.mode for metric in self._compiled().metrics}

    def fit(
        self,
        x: npt.ArrayLike,
        y: npt.ArrayLike,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: Verbosity = "auto",
        callbacks: Sequence[Callback] | None = None,
        validation_split: float = 0.0,
        validation_data: ValidationData | None = None,
        shuffle: bool = True,
        class_weight: Mapping[int, float] | None = None,
        sample_weight: npt.ArrayLike | None = None,
        initial_epoch: int = 0,
        *,
        seed: int | None = None,
    ) -> History:
        """Train, one step of the optimizer for each batch.

        The same seed gives the same weights, bit for bit, on any number of threads. A batch of
        many large examples goes through in parts whose gradients are added up, in less memory,
        unless a layer, such as batch normalization, or a loss of your own may mix them. The values
        recorded are the means over an epoch's batches, each as it was before its step. Ctrl-C
        leaves the model with the weights of the last complete step, and the epochs so far in
        `history`.

        Parameters
        ----------
        x, y
            Array-likes of the same length: inputs and what the loss compares with the output.
        batch_size
            Examples in a batch; None is 32. The last batch may be smaller.
        epochs
            How many times all examples are seen, those before `initial_epoch` included.
        verbose
            0 shows nothing, 1 a bar for each epoch and its line, 2 the lines alone; "auto" is 1 on
            a terminal and 2 elsewhere. Without tqdm there is no bar.
        callbacks
            A list of `fastconv.callbacks.Callback`, told of each epoch and step in its order.
        validation_split
            The share of the examples, the last ones, that are only measured, after each epoch.
        validation_data
            (x, y) or (x, y, sample_weight) that are only measured, after each epoch.
        shuffle
            Whether each epoch has an order of its own.
        class_weight
            What the loss of an example is multiplied by, by its class; 1 for a class not in it.
        sample_weight
            What each example's loss is multiplied by, (n,) or an array like the losses. The mean is
            still taken over the number of examples, not over their weights: Keras's rule. Metrics
            are not weighed.
        initial_epoch
            The number of the first epoch, for a training that goes on. The order of the examples
            and what layers draw follow the optimizer's steps: with a new optimizer, as after
            `load_model`, they are those of a first epoch again.
        seed
            Fixes the order and what layers draw; without it, the model's seed does.

        Returns
        -------
        History
            ``history.history["loss"]``, and so on for the metrics and for "val_loss".
        """
        recipe = self._compiled()
        given = _examples.examples(x, y, sample_weight)
        held: _examples.Examples | None = None
        if validation_data is not None:
            if validation_split:
                raise ValueError("validation_data and validation_split cannot both be given")
            held = _examples.validation(validation_data)
        elif validation_split:
            given, held = _examples.split(given, validation_split)
        begin = _checks.integer("initial_epoch", initial_epoch, 0)
        course = _training.Course(
            batch_size=batch_size,
            epochs=range(begin, _checks.integer("epochs", epochs, begin + 1)),
            shuffle=_checks.flag("shuffle", shuffle),
            seed=self._seed if seed is None else _checks.seed("seed", seed),
            validation=held,
        )
        steps = len(_examples.batches(len(given), batch_size))
        progress = Progress(verbose, course.epochs.stop, len(given))
        told = _base.CallbackList(_base.checked(callbacks))
        self.build((None, *given.x.shape[1:]))
        if class_weight is not None:
            given = _examples.weighed_by_class(given, class_weight, self.output_shape)
        told.set_model(self)
        names = recipe.names() + (recipe.names("val_") if held is not None else [])
        told.set_params({"epochs": epochs, "steps": steps, "verbose": verbose, "metrics": names})
        return _training.train(self, recipe, given, course, told, progress)

    def evaluate(
        self,
        x: npt.ArrayLike,
        y: npt.ArrayLike,
        batch_size: int | None = None,
        verbose: Verbosity = "auto",
        sample_weight: npt.ArrayLike | None = None,
    ) -> list[float]:
        """Return ``[loss, *metrics]``, the means over x and y, just as validation gives them.

        The parameters are `fit`'s and `predict`'s.
        """
        recipe = self._compiled()
        given = _examples.examples(x, y, sample_weight)
        cut = tracked(_examples.batches(len(given), batch_size), "evaluate", verbose)
        return list(_training.measure(self, recipe, given, cut).values().values())

    def train_on_batch(
        self,
        x: npt.ArrayLike,
        y: npt.ArrayLike,
        sample_weight: npt.ArrayLike | None = None,
        class_weight: Mapping[int, float] | None = None,
    ) -> list[float]:
        """Take one step on all the examples given; return ``[loss, *metrics]`` before it.

        The parameters are `fit`'s.
        """
        recipe = self._compiled()
        given = _examples.examples(x, y, sample_weight)
        self.build((None, *given.x.shape[1:]))
        if class_weight is not None:
            given = _examples.weighed_by_class(given, class_weight, self.output_shape)
        means = _training.Means(recipe)
        _training.step(self, recipe, self._seed, given, means)
        return list(means.values().values())

    def parts(self, size: tuple[int, ...]) -> Parts:
        """Return how batches of examples of this size are cut: as last time, while that holds."""
        layers = self.layers
        if self._parts is None or not self._parts.holds(layers, size):
            self._parts = Parts.of(layers, size)
        return self._parts

    def _compiled(self) -> _training.Recipe:
        if self._recipe is None:
            raise ValueError(f"model {self.name!r} is not compiled yet: call compile first")
        return self._recipe
