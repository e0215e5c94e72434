"""The journal of actions: undo, redo, and the actions of other processes."""
