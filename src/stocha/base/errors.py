"""The one exception a user's mistake raises; the command line prints it and exits with 2."""


class UserError(ValueError):
    """A mistake the user can mend: its text is one line, `name=value: allowed: …`."""
