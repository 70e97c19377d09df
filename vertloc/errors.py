"""The errors that users meet: each says where, what was found and what was wanted."""


class VertlocError(Exception):
    """Base of all errors that vertloc raises on purpose."""


class ImageError(VertlocError):
    """An image that cannot be read, or cannot be a CT scan."""


class LandmarkError(VertlocError):
    """A landmark file that does not follow its format, or does not belong to its image."""


class KnownLevelError(VertlocError, ValueError):
    """Levels given as known that no model can name, or that cannot lie in one spine."""


class LmlError(LandmarkError):
    """A landmark file that does not follow the `.lml` format."""


class CohortError(VertlocError):
    """Fold files or a dataset folder with problems; the message lists all of them."""


class ConfigError(VertlocError):
    """A configuration file with a missing, unknown or impossible setting."""


class ModelError(VertlocError):
    """A model file that is damaged, inconsistent or from another format version."""


class TrainingError(VertlocError):
    """Training data from which no model can be learned."""


class ClusterError(VertlocError):
    """A cluster that cannot be reached, or whose workers cannot do the work."""


class OutputError(VertlocError):
    """A place where results cannot or must not be written."""


class EvaluationError(VertlocError):
    """True or predicted landmark files that cannot be scored; the message lists all of them."""


class ReportError(VertlocError):
    """Results that cannot be shown, or a figure that cannot be drawn."""
