"""Which deployment answers: the catalog of models, the plan of a request, the attempts, the health of deployments."""
