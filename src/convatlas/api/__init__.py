"""The public names of the package, as thin functions over what the commands use; `convatlas` re-exports them."""
