-- The time.
return now_text
