"""One comment of a pull request, kept up to date."""

from __future__ import annotations

import pytest
from tests.support.github_server import GitHub, Refused, Request

from pys_multi_tools.github import comment
from pys_multi_tools.github.client import Client, GitHubError

MARK = comment.marker("plan", ".", "prod")


def test_it_is_made_once_and_updated_in_place(server: GitHub, client: Client) -> None:
    for text in ("one", "two", "two"):
        comment.keep(client, 7, MARK, text)
    assert server.comments_on(7) == [f"{MARK}\ntwo"]
    assert [request.method for request in server.requests].count("PATCH") == 1


def test_every_plan_has_its_own(server: GitHub, client: Client) -> None:
    comment.keep(client, 7, MARK, "one")
    comment.keep(client, 7, comment.marker("plan", "-->", "prod"), "two")
    comment.keep(client, 8, MARK, "three")
    assert len(server.comments_on(7)) == 2
    assert "-->\n" not in server.comments_on(7)[1].removeprefix("<!-- pys-multi ").partition("\n")[0]


def test_it_is_found_behind_many_pages(server: GitHub, client: Client) -> None:
    for number in range(95):
        server.comment(7, f"chat {number}", login="somebody", kind="User")
    comment.keep(client, 7, MARK, "one")
    comment.keep(client, 7, MARK, "two")
    assert len(server.comments_on(7)) == 96


def test_the_comment_of_a_stranger_with_the_marker_is_left_alone(server: GitHub, client: Client) -> None:
    stranger = server.comment(7, f"{MARK}\nmine", login="somebody", kind="User")
    comment.keep(client, 7, MARK, "one")
    assert stranger["body"] == f"{MARK}\nmine"
    assert len(server.comments_on(7)) == 2


def test_of_two_that_were_made_at_a_time_one_stays(server: GitHub, client: Client) -> None:
    def also(request: Request) -> None:
        if request.method == "POST":
            server.before = lambda request: None
            server.comment(7, f"{MARK}\nof another run")

    server.before = also
    comment.keep(client, 7, MARK, "one")
    assert server.comments_on(7) == [f"{MARK}\none"]


def test_where_there_is_none_none_is_made(server: GitHub, client: Client) -> None:
    assert comment.keep(client, 7, MARK, "gone", create=False) is None
    assert server.comments_on(7) == []


def test_it_is_cut_to_what_github_takes(server: GitHub, client: Client) -> None:
    comment.keep(client, 7, MARK, "<details>\n" + "🦊 line\n" * 30_000 + "</details>")
    [body] = server.comments_on(7)
    assert "cut here" in body
    assert body.count("<details>") == body.count("</details>")


def test_a_token_that_may_not_comment_is_told_so(server: GitHub) -> None:
    client = Client(f"{server.url}/api", "acme/shop", server.fork_token)
    with pytest.raises(GitHubError, match="403 Resource not accessible") as caught:
        comment.keep(client, 7, MARK, "one")
    assert "pull-requests: write" in caught.value.hint


@pytest.mark.parametrize("status", [500, 502, 503, 429])
def test_what_fails_for_a_moment_is_asked_again(server: GitHub, client: Client, status: int) -> None:
    left = [2]

    def fail(request: Request) -> None:
        if request.method == "GET" and left[0]:
            left[0] -= 1
            raise Refused(status, "try again")

    server.before = fail
    if status == 429:  # without a Retry-After nobody says when
        with pytest.raises(GitHubError, match="429"):
            comment.keep(client, 7, MARK, "one")
        return
    comment.keep(client, 7, MARK, "one")
    assert len(server.comments_on(7)) == 1


def test_a_creation_that_failed_is_not_made_twice(server: GitHub, client: Client) -> None:
    def fail_after(request: Request) -> None:
        if request.method == "POST":
            server.comment(7, request.body["body"])
            raise Refused(502, "no answer from upstream")

    server.before = fail_after
    with pytest.raises(GitHubError, match="502"):
        comment.keep(client, 7, MARK, "one")
    server.before = lambda request: None
    comment.keep(client, 7, MARK, "two")
    assert server.comments_on(7) == [f"{MARK}\ntwo"]


def test_a_page_elsewhere_is_not_followed(server: GitHub) -> None:
    for number in range(40):
        server.comment(7, f"{number}", login="somebody", kind="User")
    client = Client(f"{server.url}/api", "acme/shop", server.token)
    honest, server.url = server.url, "http://127.0.0.2:1"
    assert len(list(client.comments(7))) == 30
    server.url = honest
    assert len(list(client.comments(7))) == 40


@pytest.mark.parametrize("repository", ["", "acme", "acme/shop/x", "../..", "a b/c", "acme/shop?x=1"])
def test_what_is_no_repository_is_refused(repository: str) -> None:
    with pytest.raises(GitHubError, match="is no repository"):
        Client("https://api.github.com", repository, "t")
