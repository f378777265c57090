"""Several servers, their PostgreSQL and their Redis, hurt at random while many clients ask. docs/chaos.md."""
