-- ARGV: consumer, event. The time, and when it was handled, if it was.
return { now_text, call('ZSCORE', T .. ':handled', handled(ARGV[1], ARGV[2])) }
