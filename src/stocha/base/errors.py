"""The one exception a user's mistake raises; the command line prints it and exits with 2."""


class UserError(Exception):
    """A mistake the user can mend: its text is one line that says what and how."""
