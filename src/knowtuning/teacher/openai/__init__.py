"""The `openai` teacher: any OpenAI-compatible endpoint, paid once per call, durable per reply.

| module | what it does |
|---|---|
| teacher.py | the teacher itself, and a run of it: look-ahead, order, preview, stopping |
| calls.py | a task to its outcome: budget, pace, repetitions, trials |
| client.py | the endpoint: its dialect, and what it answers, a completion or a fault |
| batch.py | the other way of delivery: the Batch API |
| prompts.py, reading.py | the prompt, the form a reply is asked for; how it is read |
| store.py | replies on disk, claims, group commits, travel through DVC |
| limits.py | speed, money, totals |
"""
