"""Run the migrations on the connection that `owlabel.project.storage.migrate` hands over."""

from alembic import context

from owlabel.project.storage.schema import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
