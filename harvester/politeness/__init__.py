"""How a service is asked without hurting it: rate, burst, daily quota, slots, retries, circuit breaker.

All of it works for any service and knows none by name. What is asked, and what an answer means, is not decided here.
"""
