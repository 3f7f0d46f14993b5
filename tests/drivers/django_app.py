"""A Django project in one file, driven through its HTTP handlers as a browser would: accounts, passwords,
groups, sessions, and what the ORM makes of them.

`django_app.py migrate` makes its schema; `django_app.py guided` does what it is told on its standard input,
line by line, in one process, and ends with the first thing that fails.
"""

import json
import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import django
from django.conf import settings

settings.configure(
    SECRET_KEY="a secret of this test",
    ALLOWED_HOSTS=["testserver"],
    ROOT_URLCONF="__main__",
    USE_TZ=True,
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions"],
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
    ],
    TEMPLATES=[{
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "OPTIONS": {"loaders": [("django.template.loaders.locmem.Loader", {
            "form.html": "{{ form.errors }}",
            "mail.txt": "{{ uid }} {{ token }}",
            "subject.txt": "reset",
        })]},
    }],
    EMAIL_BACKEND="django.core.mail.backends.locmem.EmailBackend",
    # Its own hash takes a tenth of a second, and fifty logins a second share two processors with the databases.
    PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
    DATABASES={"default": {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": os.environ["PGHOST"], "PORT": os.environ["PGPORT"], "NAME": os.environ["PGDATABASE"],
        "USER": os.environ["PGUSER"], "PASSWORD": os.environ["PGPASSWORD"], "CONN_MAX_AGE": None,
    }},
)
django.setup()

from django.contrib.auth import views  # noqa: E402
from django.contrib.auth.decorators import login_required  # noqa: E402
from django.contrib.auth.forms import UserCreationForm  # noqa: E402
from django.contrib.auth.models import Group, Permission, User  # noqa: E402
from django.contrib.sessions.models import Session  # noqa: E402
from django.core import mail  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.db import IntegrityError, transaction  # noqa: E402
from django.db.models import Count, F, Q, Value  # noqa: E402
from django.db.models.functions import Concat  # noqa: E402
from django.http import HttpResponse, HttpResponseRedirect, JsonResponse  # noqa: E402
from django.test import Client  # noqa: E402
from django.urls import path  # noqa: E402


def signup(request):
    form = UserCreationForm(request.POST)
    if not form.is_valid():
        return HttpResponse(form.errors, status=400)
    form.save()
    return HttpResponseRedirect("/login")


@login_required
def me(request):
    request.session["seen"] = request.session.get("seen", 0) + 1
    return JsonResponse({"name": request.user.username, "seen": request.session["seen"]})


urlpatterns = [
    path("signup", signup),
    path("login", views.LoginView.as_view(template_name="form.html", next_page="/me")),
    path("logout", views.LogoutView.as_view(next_page="/login")),
    path("me", me),
    path("password", views.PasswordChangeView.as_view(template_name="form.html", success_url="/me")),
    path("reset", views.PasswordResetView.as_view(
        template_name="form.html", email_template_name="mail.txt", subject_template_name="subject.txt", success_url="/login")),
    path("reset/<uidb64>/<token>", views.PasswordResetConfirmView.as_view(template_name="form.html", success_url="/login")),
]

steps = 0


def check(name, got, want):
    global steps
    if got != want:
        sys.exit(f"{name}: got {got!r}, want {want!r}")
    steps += 1


def status(name, response, want):
    check(f"{name} {response.content[:200]!r}", response.status_code, want)


def accounts(turn):
    zoe, name = Client(), f"zoë{turn}"
    first, second, third = ("a first pass 1", "a second pass 2", "a third pass 3")
    new = {"username": name, "password1": first, "password2": first}
    status("sign up", zoe.post("/signup", new), 302)
    status("twice", zoe.post("/signup", new), 400)
    status("nobody", zoe.get("/me"), 302)
    status("wrong password", zoe.post("/login", {"username": name, "password": "wrong"}), 200)
    status("log in", zoe.post("/login", {"username": name, "password": first}), 302)
    check("me", zoe.get("/me").json(), {"name": name, "seen": 1})
    check("me again", zoe.get("/me").json(), {"name": name, "seen": 2})
    new = {"old_password": first, "new_password1": second, "new_password2": second}
    status("change the password", zoe.post("/password", new), 302)
    check("still in", zoe.get("/me").json()["seen"], 3)
    User.objects.filter(username=name).update(email=f"zoe{turn}@example.com")
    mail.outbox = []
    status("reset", zoe.post("/reset", {"email": f"ZOE{turn}@example.com"}), 302)
    uid, token = mail.outbox[-1].body.split()
    page = zoe.get(f"/reset/{uid}/{token}")
    status("the mail's link", page, 302)
    status("reset to", zoe.post(page.url, {"new_password1": third, "new_password2": third}), 302)
    status("log out", zoe.post("/logout"), 302)
    status("out", zoe.get("/me"), 302)
    status("old password", zoe.post("/login", {"username": name, "password": second}), 200)
    status("in again", zoe.post("/login", {"username": name, "password": third}), 302)
    check("fresh", zoe.get("/me").json()["seen"], 1)
    return User.objects.get(username=name)


def groups(zoe, turn):
    group = Group.objects.create(name=f"editors {turn}")
    permissions = Permission.objects.filter(content_type__app_label="auth").order_by("codename")
    group.permissions.set(permissions[:5])
    zoe.groups.add(group)
    zoe.groups.add(group)  # ON CONFLICT DO NOTHING
    zoe.user_permissions.add(*permissions[5:8])
    zoe = User.objects.get(pk=zoe.pk)
    check("permissions", len(zoe.get_all_permissions()), 8)
    check("has", zoe.has_perm("auth.add_group"), True)
    zoe.user_permissions.remove(permissions[5])
    check("fewer", zoe.user_permissions.count(), 2)
    check("members", list(group.user_set.values_list("pk", flat=True)), [zoe.pk])
    counted = Group.objects.annotate(size=Count("user")).filter(size__gt=0, name=group.name)
    check("sizes", list(counted.values_list("name", "size")), [(group.name, 1)])
    group.permissions.clear()
    check("none", group.permissions.exists(), False)
    got, made = Group.objects.get_or_create(name=group.name)
    check("got", (got.pk, made), (group.pk, False))
    _, made = Group.objects.update_or_create(name=f"temporary {turn}", defaults={"name": f"passing {turn}"})
    check("made", made, True)
    check("gone", Group.objects.filter(name__startswith="passing").delete()[0], 1)


def orm(zoe, turn):
    new = [User(username=f"bulk{turn}-{n}", first_name="F", last_name=str(n)) for n in range(5)]
    User.objects.bulk_create(new)
    bulk = User.objects.filter(username__startswith=f"bulk{turn}-")
    check("bulk", bulk.count(), 5)
    bulk.update(first_name=Concat(F("first_name"), Value("-"), F("last_name")))
    check("concatenated", list(bulk.order_by("id").values_list("first_name", flat=True)), [f"F-{n}" for n in range(5)])
    bulk.filter(Q(last_name="1") | Q(last_name="2")).update(is_active=False)
    check("active", bulk.exclude(is_active=False).count(), 3)
    check("in bulk", len(User.objects.in_bulk([user.pk for user in bulk])), 5)
    try:
        with transaction.atomic():
            User.objects.create(username=f"undone{turn}")
            with transaction.atomic():
                User.objects.create(username=f"kept in a savepoint{turn}")
            User.objects.create(username=zoe.username)
    except IntegrityError as error:
        check("twice", error.__cause__.diag.constraint_name, "auth_user_username_key")
    check("undone", User.objects.filter(username=f"undone{turn}").exists(), False)
    with transaction.atomic():
        locked = User.objects.select_for_update().get(pk=zoe.pk)
        locked.last_name = "Ångström 😀"
        locked.save(update_fields=["last_name"])
    zoe.refresh_from_db()
    check("saved", zoe.last_name, "Ångström 😀")
    check("deleted", bulk.delete()[0], 5)
    call_command("clearsessions")
    check("sessions stay", Session.objects.exists(), True)


def flow(turn):
    global steps
    steps = 0
    zoe = accounts(turn)
    groups(zoe, turn)
    orm(zoe, turn)
    return f"steps {steps}"


KEPT = {"username": "kept", "password": "kept for long"}
kept = []


def login():
    client = Client()
    response = client.post("/login", KEPT)
    if response.status_code != 302:
        raise AssertionError(f"a login failed: {response.status_code}")
    valid(client)
    return client


def valid(client):
    answer = client.get("/me")
    if answer.status_code != 200 or answer.json()["name"] != KEPT["username"]:
        key = client.cookies["sessionid"].value
        there = Session.objects.filter(session_key=key).count()
        raise AssertionError(f"a session is lost: {answer.status_code}, {there} in the database")


class Logins:
    """Fifty a second, whether or not those before have been answered; each thread has its connection."""

    PACE = 0.02
    WAITING_MAX = 200  # a machine that cannot keep up is not buried

    def begin(self):
        self.threads, self.all, self.ends = ThreadPoolExecutor(8), [], threading.Event()
        self.places = threading.Semaphore(self.WAITING_MAX)
        self.pace = threading.Thread(target=self.run)
        self.pace.start()
        return "begun"

    def run(self):
        due = time.monotonic()
        while not self.ends.wait(max(0, due - time.monotonic())):
            due += self.PACE
            if self.places.acquire(blocking=False):
                self.all.append(self.threads.submit(login))
                self.all[-1].add_done_callback(lambda _: self.places.release())

    def count(self):
        done = [login for login in list(self.all) if login.done()]
        for login in done:
            login.result()
        return len(done)

    def end(self):
        self.ends.set()
        self.pace.join()
        clients = [login.result() for login in self.all]
        keys = [client.cookies["sessionid"].value for client in clients]
        if Session.objects.filter(session_key__in=keys).count() != len(keys):
            raise AssertionError("sessions are lost")
        for client in clients[::10]:
            valid(client)
        self.threads.shutdown()
        return f"logins {len(clients)}"


def keep():
    kept.append(login())
    return json.dumps(kept[-1].cookies["sessionid"].value)


def take(session):
    client = Client()
    client.cookies["sessionid"] = json.loads(session)
    kept.append(client)
    return "taken"


def check_kept():
    for client in kept:
        valid(client)
    return f"valid {len(kept)}"


def begin():
    User.objects.create_user(KEPT["username"], password=KEPT["password"])
    return "begun"


def guided():
    logins = Logins()
    verbs = {
        "begin": lambda _: begin(), "flow": lambda turn: flow(int(turn)), "keep": lambda _: keep(), "take": take,
        "check": lambda _: check_kept(), "logins": lambda _: logins.begin(), "count": lambda _: logins.count(),
        "stop": lambda _: logins.end(),
    }
    for line in sys.stdin:
        verb, _, rest = line.strip().partition(" ")
        print(f"{verb}: {verbs[verb](rest)}", flush=True)


try:
    {"migrate": lambda: call_command("migrate", verbosity=0), "guided": guided}[sys.argv[1]]()
except BaseException as error:
    # Threads that wait for something would keep the process.
    if not isinstance(error, SystemExit) or error.code:
        sys.excepthook(type(error), error, error.__traceback__)
        sys.stderr.flush()
        os._exit(1)
