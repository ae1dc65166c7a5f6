"""Runs the migrations on the connection that `gpumod.store.upgrade` hands over, all in one transaction."""

from alembic import context

connection = context.config.attributes["connection"]
context.configure(connection=connection, transactional_ddl=True, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
    # Foreign keys are off meanwhile, so that tables can be rebuilt.
    if broken := connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall():
        raise RuntimeError(f"the migration left rows that refer to nothing: {broken[:3]}")
