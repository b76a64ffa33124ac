-- The time.
return text(now)
