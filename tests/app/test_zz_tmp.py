import pytest
from tests.app.conftest import Site, next_trials, vote_on
@pytest.mark.parametrize("i", range(6))
def test_a(site, i):
    s = site.subject()
    print(next_trials(s,4))
    print(site.staff("admin").get("/api").status_code)
def test_lower(site):
    with site.sessions() as db:
        from sqlalchemy import text
        print(db.execute(text("select lower('ÉMILE'), (select concat(datcollate,datctype,datlocprovider) from pg_database where datname=current_database())")).all())
    site.add_user("Émile","admin")
    c=site.client()
    print(c.post("/sign-in", data={"name":"Émile","password":"a long enough password"}))
    print(c.post("/sign-in", data={"name":"\x00","password":"a"}))
    print(c.get("/i/%00"), c.get("/i/%ff"))
    s=site.subject(); t=next_trials(s)[0]
    for ch in [dict(response_ms=1e308), dict(choice="x"*100), dict(window_width=10**30)]:
        r=vote_on(s,t,**ch); print(r, r.text[:300])
    r=s.put(f"/api/subject/trials/{t['id']}/vote", content="{", headers={"content-type":"application/json"}); print(r, r.text)
    r=s.put(f"/api/subject/trials/{t['id']}/vote", content='{"response_ms": NaN}', headers={"content-type":"application/json"}); print(r, r.text)
    r=s.put(f"/api/subject/trials/{t['id']}/vote", content=b'\xff', headers={"content-type":"application/json"}); print(r, r.text)
    r=s.put(f"/api/subject/trials/{t['id']}/vote"); print(r, r.text)
    r=s.put(f"/api/subject/trials/x/vote", json={}); print(r, r.text)
    a=site.staff("admin")
    for u in ["/api/studies/%00","/api/studies/small/rankings/"+str(10**30),"/studies/small/images/%00.png", "/set-up/%00"]:
        r=a.get(u); print(u, r, r.text[:200])
    r=a.post("/api/studies/small/invites", json={"note":"\x00"}); print(r, r.text[:200])
    r=a.post("/api/studies/small/calibrations", json={"ranking":10**30}); print(r, r.text[:200])
    r=a.patch("/api/studies/small", json={"trials_per_subject":10**30}); print(r, r.text[:200])
    r=a.post("/api/studies", json={"workspace":"\x00"}); print(r, r.text[:200])
    r=a.post("/api/studies", json={"workspace":"/x", "name":""}); print(r, r.text[:200])
    r=a.patch("/api/studies/small", json={"consent":"\ud800"} ) if 0 else None
    r=a.patch("/api/studies/small", content=b'{"consent":"\\ud800"}', headers={"content-type":"application/json"} ); print(r, r.text[:200])
from app import database
@pytest.mark.parametrize("u", ["", "abc", "mysql://x/y", "postgresql://h:abc/db", "postgresql://h:9999999/db","postgresql://127.0.0.1:1/db", "postgresql://u@127.0.0.1:1/db?foo=bar", "postgres://127.0.0.1:1/d", "postgresql://[::1/x", "postgresql+asyncpg://127.0.0.1:1/d","postgresql://nowhere.invalid/x?connect_timeout=2", "postgresql:///x?host=/nonexistent"])
def test_url(u):
    try: database.migrate(u)
    except Exception as e: print(repr(u), type(e), e)
