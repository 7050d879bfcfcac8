"""Operations: an attempt, a deadline and an audit entry for each request."""
