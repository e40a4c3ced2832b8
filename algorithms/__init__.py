"""Migration algorithms, one a file: each a plain function (migration, *, parameters)."""
