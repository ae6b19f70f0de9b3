"""Why an endpoint has no link: what can be seen of the path there, and the sentence that follows from it."""
