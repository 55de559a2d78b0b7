"""One task a stage: open what came before, call the science, publish what it made."""
