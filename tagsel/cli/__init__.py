"""The command line: verbs of `tagsel.Workspace` at the prompt."""
