"use strict";
// The answer browser. Data is text of unknown origin: it reaches the page through textContent alone.
(() => {
  const PER_PAGE = 50;
  // Counts that are nearly always 0 and are left out of an answer's scores then.
  const SELDOM = ["unparsed", "unverifiable", "unscored", "duplicate", "truncated"];
  const data = JSON.parse(document.getElementById("data").textContent);
  const byId = (id) => document.getElementById(id);
  const places = new Map(data.questions.map((question, place) => [question.i, place]));
  const kinds = [...new Set(data.verdicts.map((verdict) => verdict.label))];
  const scoreAt = (name) => data.metrics.findIndex((metric) => metric.name === name);
  let shown = [];
  let current = 0;
  let drawn = {};

  function element(name, properties, ...children) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(properties || {})) {
      if (key === "text") made.textContent = value;
      else if (key === "click") made.addEventListener("click", value);
      else made.setAttribute(key, value);
    }
    made.append(...children.filter((child) => child !== null));
    return made;
  }

  // What a question is searched by, made at the first search.
  const textOf = (answer) => (answer.t !== undefined ? answer.t : answer.f.map((fact) => fact[0]).join(" "));
  let haystacks;
  const searched = (place) => {
    haystacks ??= data.questions.map((question) =>
      [question.i, question.q, question.r, ...question.a.map(textOf)].join("\n").toLowerCase());
    return haystacks[place];
  };

  // Systems disagree where their counts of verdicts differ; without verdicts, where their texts do.
  function signature(answer) {
    if (!data.verdicts.length) return textOf(answer).trim();
    const counts = kinds.map(() => 0);
    for (const [, verdict] of answer.f) counts[kinds.indexOf(data.verdicts[verdict].label)] += 1;
    return counts.join();
  }
  let signatures;
  const disagree = (place) => {
    signatures ??= data.questions.map((question) => new Set(question.a.map(signature)).size);
    return signatures[place] > 1;
  };
  // What an answer can be filtered by, beside the verdicts on its facts.
  const faults = { "cut off": (answer) => answer.x, "repeated words": (answer) => answer.e };

  function options(select, entries) {
    select.replaceChildren(...entries.map(([value, text]) => element("option", { value, text })));
  }

  function setUp() {
    options(byId("verdict"), [["", "anything"], ...[...kinds, ...Object.keys(faults)].map((kind) => [kind, kind])]);
    options(byId("system"), [["", "any"], ...data.systems.map((system, place) => [String(place), system])]);
    for (const [place, name] of data.groups.entries()) {
      const values = [...new Set(data.questions.map((question) => question.g[place]))].sort();
      const select = element("select", { "data-place": place });
      options(select, [["", "any"], ...values.map((value) => [value, value])]);
      byId("strata").append(element("label", {}, `${name[0].toUpperCase()}${name.slice(1)} `, select));
    }
    if (scoreAt("correct") >= 0) byId("counts").textContent = `below each its correct facts by ${data.systems.join(" · ")}`;
    compare();
  }

  // The system that the method is compared with, in the results and in the order of questions.
  function compare() {
    const [method, other] = [data.systems[data.method], byId("against").value];
    const order = byId("order").value;
    const orders = data.leading.flatMap((name) => {
      const label = data.metrics[scoreAt(name)].label;
      return [[`-${name}`, `${label}: ${method} most above ${other}`], [`+${name}`, `${label}: ${method} most below ${other}`]];
    });
    options(byId("order"), [["", "as in the data"], ...orders]);
    byId("order").value = order;
    for (const part of document.querySelectorAll("[data-against]")) part.classList.toggle("chosen", part.dataset.against === other);
  }

  function ordered(found) {
    const order = byId("order").value;
    if (!order) return found;
    const at = scoreAt(order.slice(1));
    const [mine, other] = [data.method, data.systems.indexOf(byId("against").value)];
    const sign = order[0] === "-" ? -1 : 1;
    const gain = (place) => {
      const [a, b] = [data.questions[place].a[mine].s[at], data.questions[place].a[other].s[at]];
      return a === null || b === null ? Infinity : sign * (a - b);
    };
    const gains = new Map(found.map((place) => [place, gain(place)]));
    return found.sort((a, b) => (gains.get(a) === gains.get(b) ? a - b : gains.get(a) < gains.get(b) ? -1 : 1));
  }

  function matches(place) {
    const question = data.questions[place];
    const words = byId("search").value.toLowerCase().split(/\s+/).filter(Boolean);
    if (!words.every((word) => searched(place).includes(word))) return false;
    if (byId("disagree").checked && !disagree(place)) return false;
    for (const select of byId("strata").querySelectorAll("select")) {
      if (select.value && question.g[Number(select.dataset.place)] !== select.value) return false;
    }
    const verdict = byId("verdict").value;
    if (!verdict) return true;
    const system = byId("system").value;
    const answers = system === "" ? question.a : [question.a[Number(system)]];
    if (verdict in faults) return answers.some(faults[verdict]);
    return answers.some((answer) => answer.f.some(([, at]) => data.verdicts[at].label === verdict));
  }

  // keep: the question that stays in view where the filters let it.
  function filter(keep) {
    shown = ordered(data.questions.map((_, place) => place).filter(matches));
    current = Math.max(0, shown.indexOf(keep));
    const all = shown.length === data.questions.length;
    byId("count").textContent = all ? `${shown.length} questions` : `${shown.length} of ${data.questions.length} questions`;
    byId("reset").disabled = all && !byId("order").value;
    draw();
  }

  function draw() {
    drawList();
    drawQuestion();
  }

  function drawList() {
    const page = Math.floor(current / PER_PAGE);
    const pages = Math.max(1, Math.ceil(shown.length / PER_PAGE));
    const first = page * PER_PAGE;
    if (drawn.shown === shown && drawn.page === page) {
      mark(current - first);
      return;
    }
    drawn = { shown, page };
    const entries = shown.slice(first, first + PER_PAGE).map((place, offset) => listEntry(place, first + offset));
    byId("list").setAttribute("start", String(first + 1));
    byId("list").replaceChildren(...entries);
    byId("page").textContent = `page ${page + 1} of ${pages}`;
    byId("page-back").disabled = page === 0;
    byId("page-on").disabled = page + 1 >= pages;
    mark(current - first);
  }

  // Marks the current entry of the list and scrolls the list, not the page, to it.
  function mark(offset) {
    const list = byId("list");
    const before = list.querySelector("[aria-current]");
    if (before) before.removeAttribute("aria-current");
    const chosen = list.children[offset];
    if (!chosen) return;
    chosen.firstChild.setAttribute("aria-current", "true");
    const [frame, item] = [list.getBoundingClientRect(), chosen.getBoundingClientRect()];
    if (item.top < frame.top) list.scrollTop -= frame.top - item.top;
    if (item.bottom > frame.bottom) list.scrollTop += item.bottom - frame.bottom;
  }

  function listEntry(place, position) {
    const question = data.questions[place];
    const at = scoreAt("correct");
    const counts = at < 0 ? "" : question.a.map((answer) => answer.s[at]).join(" · ");
    const note = element("small", {}, element("span", { text: question.g.join(" · ") }),
      element("span", { text: counts }));
    return element("li", {}, element("button", { type: "button", click: () => go(position) }, element("span", { text: question.q }), note));
  }

  function drawQuestion() {
    const target = byId("question");
    if (!shown.length) {
      target.replaceChildren(element("p", { class: "nothing", text: "No question passes these filters." }));
      return;
    }
    const question = data.questions[shown[current]];
    const steps = element("div", { class: "steps" },
      element("button", { type: "button", class: "quiet", id: "back", text: "‹", "aria-label": "question before", click: () => go(current - 1) }),
      element("button", { type: "button", class: "quiet", id: "on", text: "›", "aria-label": "next question", click: () => go(current + 1) }));
    steps.firstChild.disabled = current === 0;
    steps.lastChild.disabled = current === shown.length - 1;
    const where = element("div", { class: "bar-top" },
      element("span", {}, `${current + 1} of ${shown.length} · `, element("code", { id: "question-id", text: question.i })), steps);
    const tags = element("ul", { class: "tags" }, ...question.g.map((value) => element("li", { text: value })));
    const reference = element("article", { class: "answer reference" }, element("h3", { text: "Reference" }), element("p", { text: question.r }));
    const answers = element("div", { class: "answers" }, ...question.a.map((answer, place) => drawAnswer(answer, place)));
    target.replaceChildren(...[where, element("h2", { text: question.q }), tags, reference, answers, drawMarks(), drawJudgements(question)].filter(Boolean));
  }

  // A part of an answer, which begins there at `start`, with the words marked that the answer repeats.
  function marked(text, spans, start) {
    const parts = [];
    let at = 0;
    for (const [first, last] of spans || []) {
      const [from, to] = [Math.max(first - start, at), Math.min(last - start, text.length)];
      if (from >= to) continue;
      parts.push(text.slice(at, from), element("mark", { title: "words that stood in the answer before", text: text.slice(from, to) }));
      at = to;
    }
    return [...parts, text.slice(at)];
  }

  function drawFact([text, at, evidence], spans, start) {
    const look = data.verdicts[at];
    const passages = evidence ? [element("small", { text: ` (passages: ${evidence.map(([title, score]) => `${title} ${score.toFixed(1)}`).join("; ")})` })] : [];
    return element("span", { class: `fact v-${look.kind}`, title: look.label },
      element("i", { "aria-hidden": "true", text: look.mark }), element("span", { class: "hidden", text: `${look.label}: ` }), "\u00a0", ...marked(text, spans, start), ...passages);
  }

  function drawText(answer) {
    const cut = answer.x ? [element("span", { class: "cut", text: " ✂ cut off at the token limit" })] : [];
    if (answer.t !== undefined) return element("p", {}, ...marked(answer.t, answer.e, 0), ...cut);
    let start = 0;
    const facts = answer.f.flatMap((fact) => {
      const drawn = drawFact(fact, answer.e, start);
      start += fact[0].length + 1;
      return [drawn, " "];
    });
    return element("p", {}, ...facts, ...cut);
  }

  function drawAnswer(answer, place) {
    const system = data.systems[place];
    const article = element("article", { class: `answer ${data.colours[place]}`, "data-system": system }, element("h3", { text: system }));
    if (!textOf(answer).trim()) article.append(element("p", { class: "empty", text: "no answer" }));
    else article.append(drawText(answer));
    if (answer.t !== undefined && answer.f.length) article.append(element("ul", { class: "facts" }, ...answer.f.map((fact) => element("li", {}, drawFact(fact)))));
    if (answer.u) article.append(element("p", { class: "empty", text: `unscored: ${answer.u.join("; ")}` }));
    const scores = data.metrics.map((metric, place) => [metric, answer.s[place]]).filter(([metric, value]) =>
      value !== null && (value !== 0 || !SELDOM.includes(metric.name)));
    article.append(element("dl", { class: "scores" }, ...scores.map(([metric, value]) =>
      element("div", {}, element("dt", { text: metric.label }), element("dd", { text: metric.percent ? `${value} %` : String(value) })))));
    return article;
  }

  function drawMarks() {
    const looks = data.verdicts.filter((look, place) => data.verdicts.findIndex((other) => other.label === look.label) === place);
    if (!looks.length) return null;
    return element("ul", { class: "marks", "aria-label": "Legend" }, ...looks.map((look) =>
      element("li", {}, element("span", { class: `fact v-${look.kind}` }, element("i", { text: look.mark }), `\u00a0${look.label}`))));
  }

  function drawJudgements(question) {
    if (!question.j) return null;
    const pairs = [...new Set(question.j.map(([pair]) => pair))];
    const outcome = (pair, aspect) => {
      const [, , verdict, reason] = question.j.find((each) => each[0] === pair && each[1] === aspect) || [0, 0, "–"];
      return element("td", { text: reason ? `${verdict} (${reason})` : verdict });
    };
    const head = element("tr", {}, element("th", { scope: "col", text: "pair" }), ...data.aspects.map((aspect) => element("th", { scope: "col", text: aspect })));
    const rows = pairs.map((pair) => element("tr", {}, element("th", { scope: "row", text: data.pairs[pair] }),
      ...data.aspects.map((_, aspect) => outcome(pair, aspect))));
    return element("section", { class: "judgements" }, element("h3", { text: "Pairwise verdicts" }),
      element("table", {}, element("thead", {}, head), element("tbody", {}, ...rows)));
  }

  function go(position) {
    if (!shown.length) return;
    current = Math.min(Math.max(position, 0), shown.length - 1);
    history.replaceState(null, "", `#q=${encodeURIComponent(data.questions[shown[current]].i)}`);
    view("answers");
    draw();
    reveal();
    byId("announce").textContent = `${current + 1} of ${shown.length}: ${data.questions[shown[current]].q}`;
  }

  // The question must be in sight: below its list on a phone, after a long answer on any screen.
  function reveal() {
    const { top } = byId("question").getBoundingClientRect();
    if (top < 0 || top > window.innerHeight / 2) byId("question").scrollIntoView({ behavior: "instant" });
  }

  function view(name) {
    for (const page of document.querySelectorAll(".view")) page.classList.toggle("shown", page.dataset.page === name);
    for (const link of document.querySelectorAll("nav [data-view]")) {
      if (link.dataset.view === name) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
  }
  const inAnswers = () => byId("answers").classList.contains("shown");

  // #q=ID, or the bare id of a question, opens that question, filters or not.
  function route() {
    let hash = location.hash.slice(1);
    try { hash = decodeURIComponent(hash); } catch { /* not encoded: taken as it is */ }
    const wanted = hash.startsWith("q=") ? hash.slice(2) : hash;
    const place = document.getElementById(hash) ? undefined : places.get(wanted);
    if (place !== undefined) {
      view("answers");
      if (!shown.includes(place)) clear(place);
      else { current = shown.indexOf(place); draw(); }
      reveal();
    } else if (hash === "answers" || hash.startsWith("q=")) view("answers");
    else if (hash === "training" && byId("training")) view("training");
    else {
      view("results");
      const section = hash && document.getElementById(hash);
      if (section && hash !== "results") section.scrollIntoView();
    }
  }

  function clear(keep) {
    byId("search").value = "";
    byId("disagree").checked = false;
    for (const select of byId("browser").querySelectorAll("select")) select.value = "";
    filter(keep);
  }

  const toggleHelp = (open) => (open ? byId("help").showModal() : byId("help").close());
  const keys = {
    j: () => go(inAnswers() ? current + 1 : current),
    k: () => go(inAnswers() ? current - 1 : current),
    ArrowDown: () => inAnswers() && go(current + 1),
    ArrowUp: () => inAnswers() && go(current - 1),
    "/": () => { location.hash = "answers"; view("answers"); byId("filters").open = true; byId("search").focus(); },
    d: () => { if (inAnswers()) byId("disagree").click(); },
    c: () => { if (inAnswers()) clear(shown[current]); },
    a: () => { location.hash = "answers"; view("answers"); },
    r: () => { location.hash = "results"; view("results"); },
    t: () => { if (byId("training")) { location.hash = "training"; view("training"); } },
    "?": () => toggleHelp(true),
  };

  function onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || byId("help").open) return;
    const field = event.target.closest && event.target.closest("input, select, textarea");
    if (field) {
      if (event.key === "Escape") field.blur();
      if (event.key !== "Enter" || field.id !== "search") return;
      field.blur();
      return;
    }
    const arrow = event.key.startsWith("Arrow");
    if (!(event.key in keys) || (arrow && !inAnswers())) return;
    event.preventDefault();
    keys[event.key]();
  }

  document.documentElement.classList.add("js");
  setUp();
  byId("browser").hidden = false;
  const phone = window.matchMedia("(max-width: 700px)");
  byId("filters").open = !phone.matches;
  phone.addEventListener("change", () => { byId("filters").open = !phone.matches; });
  filter(0);
  route();
  const refilter = () => filter(shown[current]);
  byId("search").addEventListener("input", refilter);
  byId("filters").addEventListener("change", (event) => {
    if (event.target.id === "order") filter(undefined);
    else if (event.target.id !== "search") refilter();
  });
  byId("against").addEventListener("change", () => { compare(); filter(byId("order").value ? undefined : shown[current]); });
  byId("reset").addEventListener("click", () => clear(shown[current]));
  byId("page-back").addEventListener("click", () => go((Math.floor(current / PER_PAGE) - 1) * PER_PAGE));
  byId("page-on").addEventListener("click", () => go((Math.floor(current / PER_PAGE) + 1) * PER_PAGE));
  byId("help-open").addEventListener("click", () => toggleHelp(true));
  byId("help-close").addEventListener("click", () => toggleHelp(false));
  window.addEventListener("hashchange", route);
  document.addEventListener("keydown", onKey);
})();
