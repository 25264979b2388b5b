"""A local MTurk: the Requester API over HTTP, and a site where invited workers take HITs.

What is different from the real one, as far as known:

- any access key id is an account with play money; signatures are checked for their form only; nobody is e-mailed
- a message ends with the error's code where MTurk writes the time; every refusal is a RequestError
- no QuestionForm HITs, HIT layouts, review policies or uploaded files; no files or pictures in qualification tests
- requesters hold rewards and fees from creation on, until an assignment is reviewed or its place expires
- UpdateHITTypeOfHIT may not change the price while a worker has accepted the HIT
- DeleteQualificationType is done at once, not within 48 hours
- notifications are written to a table, and sent nowhere
"""
