"""The family of errors that a user can meet; every message is one sentence: what was expected, what came, where."""


class MogenError(Exception):
    """Something a user can put right."""


class ConfigError(MogenError):
    """A configuration file or an option cannot be used as it is."""


class PluginError(MogenError):
    """A name stands for nothing installed, or for something that cannot be loaded."""


class ShapeError(MogenError, ValueError):
    """A tensor has another shape than the one promised."""


class CandidateError(MogenError, ValueError):
    """A text does not describe a candidate."""


class ObjectiveError(MogenError):
    """An objective or objective set breaks its promise."""


class LedgerError(MogenError):
    """A ledger cannot be opened, or belongs to something else."""


class BudgetExhausted(MogenError):
    """The budget of measurements is spent; what fitted was measured and kept."""


class RunError(MogenError):
    """A run folder is missing, incomplete or of another kind."""


class DataError(MogenError):
    """A data set or file is missing, or not what it should be."""
