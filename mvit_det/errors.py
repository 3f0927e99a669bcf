"""The one exception type for what a user can cause and mend."""


class UserError(ValueError):
    """A fault in what the user gave: a path, a config key, an annotation, a checkpoint.

    Its message is one clear sentence that names the offending value and the fix. The command line
    prints it alone, without a traceback.
    """
