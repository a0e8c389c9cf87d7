"""`make torture`: attacks and torture as programs of our own, against a real server, run by an ordinary person.

Not part of `make test`, where the tests of each finding stand; what is here runs all of it together, for minutes.

    ground.py           a server, its person's secrets, a victim, somebody else's environment, a watch
    case.py             one attack, and the table of all
    hostile.py          runs inside a container: agents, sockets and tokens that lie
    hostileweb.py       runs inside a container: a web service that lies
    containers.py       what code in a container tries
    environments/endpoints.py         what a web service in a container tries
    repositories.py     what a cloned repository tries
    endurance.py        many at once, for long
"""
