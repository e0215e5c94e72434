"""The journal of acts: undo, redo, and what other processes did."""
