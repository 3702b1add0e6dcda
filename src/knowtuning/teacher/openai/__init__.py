"""The `openai` teacher: any OpenAI-compatible endpoint, paid once per call, durable per reply.

| module | what it does |
|---|---|
| teacher.py | the teacher itself: tasks in, outcomes out, in order |
| session.py | one run: look-ahead, order, stopping |
| online.py, batch.py | the two ways of delivery |
| negotiation.py | which structured output and which field names an endpoint knows |
| client.py | the `openai` package, its errors typed |
| dialogue.py, prompts.py, structured.py | what is said, and the form a reply is asked for |
| trial.py | whether a model can do a task, and when to stop paying |
| reading.py | replies read: thoughts left out, what is plainly meant mended, all else refused |
| store.py, journal.py, replies.py | replies on disk, group commits, their travel through DVC |
| limits.py, pacing.py, prices.py, usage.py | speed, money, totals, progress |
| errors.py | what can go wrong |
"""
