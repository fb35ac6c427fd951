// The operator's page. It asks the views every two seconds and shows them. All text is inserted as text: preact escapes
// it, and nothing here makes HTML of a string.
import { html, render, useEffect, useState } from "/page/preact.js";

const REFRESH_MS = 2000;
const KEY = "vtc-gateway admin key";

class Refused extends Error {}

async function ask(path) {
  const answer = await fetch(`/admin/v1/view/${path}`, {
    headers: { Authorization: `Bearer ${sessionStorage.getItem(KEY) || ""}` },
    signal: AbortSignal.timeout(10000),
  });
  if (answer.status === 401 || answer.status === 403) throw new Refused("This key is not accepted.");
  const body = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(body.error?.message || `The gateway answered ${answer.status}.`);
  return body;
}

// What `path` answers, asked again and again; the last answer stays while the gateway is silent.
function useView(path, onRefused) {
  const [state, setState] = useState({});
  useEffect(() => {
    let timer = 0, ended = false;
    const again = async () => {
      try {
        const view = await ask(path);
        if (!ended) setState({ path, view, fault: "" });
      } catch (fault) {
        if (ended) return;
        if (fault instanceof Refused) return onRefused(fault.message);
        setState((last) => ({ ...last, fault: fault.message }));
      }
      if (!ended) timer = setTimeout(again, REFRESH_MS);
    };
    again();
    return () => { ended = true; clearTimeout(timer); };
  }, [path]);
  return state.path === path ? state : { fault: state.fault };
}

const number = (value) => Math.round(value).toLocaleString("en");
const seconds = (value) => value < 1 ? "" : value < 120 ? `${Math.round(value)} s` : `${Math.round(value / 60)} min`;
const clock = (at) => new Date(at * 1000).toLocaleTimeString();
const tenantLink = (name) => html`<a href=${`#/tenants/${encodeURIComponent(name)}`}>${name}</a>`;
const requestLink = (id) => html`<a href=${`#/requests/${encodeURIComponent(id)}`}>${id}</a>`;

// What a tenant has got beside what it is owed, in words and figures: colour says nothing that they do not.
function Share({ share }) {
  if (!share.received && !share.owed) return "";
  const ratio = share.owed ? share.received / share.owed : 1;
  const word = ratio < 0.8 ? "▼ short" : ratio > 1.25 ? "▲ over" : "✓ fair";
  const level = ratio < 0.8 ? "bad" : ratio > 1.25 ? "warn" : "well";
  return html`${number(share.received)} <small>of ${number(share.owed)}</small> <span class=${level}>${word}</span>`;
}

function Table({ heads, rows, none }) {
  if (!rows.length) return html`<p class="soft">${none}</p>`;
  return html`<table>
    <thead><tr>${heads.map(([name, kind, sort]) => html`<th class=${kind}>
      ${sort ? html`<button onClick=${sort}>${name}</button>` : name}</th>`)}</tr></thead>
    <tbody>${rows.map((row) => html`<tr>${row.map((cell, place) => html`<td class=${heads[place][1]}
      data-as=${place ? heads[place][0] : null}>${cell}</td>`)}</tr>`)}</tbody>
  </table>`;
}

function Tenants({ list, onSort }) {
  const heads = [["tenant", "", onSort && (() => onSort("name"))], ["pool", ""], ["weight", "n"],
    ["last minute", "n", onSort && (() => onSort("short"))], ["last hour", "n", onSort && (() => onSort("hour"))],
    ["runs", "n", onSort && (() => onSort("busy"))], ["waits", "n", onSort && (() => onSort("wait"))], ["why it waits", ""]];
  const rows = list.rows.map((row) => [tenantLink(row.tenant), row.pool, String(row.weight),
    html`<${Share} share=${row.now} />`, html`<${Share} share=${row.hour} />`, row.in_flight || "",
    row.queued ? `${row.queued} ${row.oldest_wait_seconds >= 1 ? `(${seconds(row.oldest_wait_seconds)})` : ""}` : "", row.why]);
  return html`<${Table} heads=${heads} rows=${rows} none="No tenant has asked yet." />
    ${list.total > list.rows.length && html`<p class="soft">${list.rows.length} of ${list.total}; search for others.</p>`}`;
}

function Problems({ problems }) {
  if (!problems.length) return html`<div class="state well" role="status">✓ All is well</div>`;
  const level = problems[0].level;
  return html`<div class=${`state ${level}`} role="status">
    ${level === "bad" ? "✗ Something is wrong" : "! Something needs a look"}
    <ul>${problems.map((each) => html`<li>${each.text}</li>`)}</ul></div>`;
}

function Refusals({ rows }) {
  return html`<${Table} heads=${[["request", ""], ["when", ""], ["tenant", ""], ["outcome", ""], ["why", ""]]}
    rows=${rows.map((row) => [requestLink(row.request_id), clock(row.at), row.tenant ? tenantLink(row.tenant) : "",
      row.outcome, row.why])} none="None." />`;
}

function Budgets({ rows }) {
  return html`<${Table} heads=${[["tenant", ""], ["of", ""], ["used", "n"], ["reserved", "n"], ["amount", "n"], ["starts again", ""]]}
    rows=${rows.map((row) => [tenantLink(row.tenant), `${row.scope} ${row.key || row.end_user || ""}, ${row.unit} per ${row.period}`,
      `${number(row.used)} (${Math.round(100 * row.used / row.amount)} %)`, number(row.reserved), number(row.amount),
      row.starts_again])} none="Nobody has used a budget." />`;
}

function Fleet({ replicas }) {
  if (!replicas) return null;
  return html`<h2>Gateways of ${replicas.fleet}</h2>
    <${Table} heads=${[["pool", ""], ["living", "n"], ["expected", "n"], ["with another configuration", "n"]]}
      rows=${replicas.pools.map((pool) => [pool.pool, pool.living, replicas.expected, pool.with_other_settings])} none="None." />`;
}

function Overview({ view, fault, refused }) {
  const [search, setSearch] = useState("");
  const [sort, setSort] = useState("busy");
  return html`<${Problems} problems=${fault ? [{ level: "bad", text: fault }, ...view.problems] : view.problems} />
    <h2>Pools</h2>
    <${Table} heads=${[["pool", ""], ["runs", "n"], ["waits", "n"], ["for", ""], ["oldest", "n"], ["granted", "n"], ["spread", "n"], ["bound", "n"]]}
      rows=${view.pools.map((pool) => [pool.pool, pool.in_flight, pool.queued,
        Object.entries(pool.waits).map(([cause, count]) => `${cause} ${count}`).join(", "), seconds(pool.oldest_wait_seconds),
        `${pool.drain_rate_per_second.toFixed(1)}/s`, number(pool.spread),
        pool.spread_bound === null ? "none promised" : html`${number(pool.spread_bound)} ${pool.spread <= pool.spread_bound ? html`<span class="well">✓ holds</span>` : html`<span class="bad">✗ broken</span>`}`])} none="None." />
    <h2>Tenants <small>service in cost units, of what fairness owes; ${view.history_minutes} min known</small></h2>
    <form onSubmit=${(event) => event.preventDefault()}>
      <input type="search" placeholder="Search a tenant" aria-label="Search a tenant" value=${search} onInput=${(event) => setSearch(event.target.value)} />
    </form>
    ${search || sort !== "busy" ? html`<${Found} search=${search} sort=${sort} onSort=${setSort} refused=${refused} />`
      : html`<${Tenants} list=${view.tenants} onSort=${setSort} />`}
    <h2>Workers</h2>
    <${Table} heads=${[["worker", ""], ["pool", ""], ["state", ""], ["sequences", "n"], ["prompt tokens", "n"], ["full of", ""], ["remark", ""]]}
      rows=${view.workers.map((each) => [each.worker, each.pool, html`<span class=${each.is_up ? "well" : "bad"}>${each.is_up ? "✓" : "✗"} ${each.state}</span>`,
        `${each.sequences} of ${each.window_sequences}`, `${number(each.prefill_tokens)} of ${number(each.window_prefill_tokens)}`,
        each.limited_by === "nothing" ? "" : each.limited_by, each.degraded])} none="None." />
    <h2>Budgets</h2><${Budgets} rows=${view.budgets} />
    <h2>Last refusals</h2><${Refusals} rows=${view.refusals} />
    <${Fleet} replicas=${view.replicas} />`;
}

function Found({ search, sort, onSort, refused }) {
  const { view, fault } = useView(`tenants?q=${encodeURIComponent(search)}&sort=${sort}`, refused);
  if (!view) return html`<p class="soft">${fault || "Searching"}</p>`;
  return html`<${Tenants} list=${view} onSort=${onSort} />`;
}

function Chart({ minutes }) {
  const most = Math.max(1, ...minutes.flatMap((each) => [each.received, each.owed]));
  const line = (name) => minutes.map((each, place) => `${place},${60 - 58 * each[name] / most}`).join(" ");
  if (minutes.length < 2) return html`<p class="soft">The chart begins after two minutes.</p>`;
  return html`<svg class="chart" viewBox=${`0 0 ${minutes.length - 1} 60`} preserveAspectRatio="none" role="img"
      aria-label="Service in each minute">
      <polyline class="due" points=${line("owed")} /><polyline class="got" points=${line("received")} /></svg>
    <small>${minutes.length} minutes up to now; solid: received, dashed: owed; at most ${number(most)} cost units a minute</small>`;
}

function Facts({ facts }) {
  const shown = Object.entries(facts).filter(([, value]) => value !== null && value !== "");
  return html`<${Table} heads=${[["what", ""], ["value", ""]]} rows=${shown.map(([name, value]) => [name.replaceAll("_", " "),
    typeof value === "number" && !Number.isInteger(value) ? value.toFixed(2) : typeof value === "object" ? JSON.stringify(value) : String(value)])} none="" />`;
}

function Tenant({ view }) {
  return html`<p><a href="#/">← all</a></p><h1>${view.tenant}</h1>
    ${view.pools.map((pool) => html`<h2>${pool.pool}</h2>
      <${Tenants} list=${{ total: 1, rows: [pool] }} /><${Chart} minutes=${pool.minutes} />`)}
    <h2>Requests <small>${view.requests.total}</small></h2>
    <${Table} heads=${[["request", ""], ["state", ""], ["age", "n"], ["worker", ""], ["prompt", "n"], ["output", "n"]]}
      rows=${view.requests.rows.map((row) => [requestLink(row.request_id), row.state, seconds(row.age_seconds) || "0 s", row.worker,
        row.prompt_tokens, row.output_tokens])} none="None." />
    <h2>Budgets</h2><${Budgets} rows=${view.budgets} />
    <h2>Keys</h2>
    <${Table} heads=${[["key", ""], ["state", ""]]} rows=${(view.terms?.keys || []).map((key) => [key.id, key.disabled ? "✗ disabled" : "✓ valid"])} none="None." />
    ${view.terms && html`<h2>Limits</h2><${Facts} facts=${view.terms.limits} />`}
    <h2>Last refusals</h2><${Refusals} rows=${view.refusals} />`;
}

function One({ kind, path, refused }) {
  const { view, fault } = useView(path, refused);
  if (!view) return html`<p><a href="#/">← all</a></p><p>${fault || "Asking the gateway"}</p>`;
  if (kind === "tenants") return html`<${Tenant} view=${view} />`;
  return html`<p><a href="#/">← all</a></p><h1>Request</h1>
    ${view.tenant && html`<p>of ${tenantLink(view.tenant)}</p>`}<${Facts} facts=${view} />`;
}

function Home({ refused }) {
  const { view, fault } = useView("overview", refused);
  if (!view) return html`<p class=${fault ? "bad" : "soft"}>${fault || "Asking the gateway"}</p>`;
  return html`<${Overview} view=${view} fault=${fault} refused=${refused} />`;
}

function KeyForm({ message, onKey }) {
  const submit = (event) => { event.preventDefault(); onKey(event.target.elements.key.value.trim()); };
  return html`<form onSubmit=${submit}>
    <input name="key" type="password" autocomplete="off" placeholder="Admin key" aria-label="Admin key" required />
    <button class="go">Show</button></form>
    <p class=${message ? "bad" : "soft"}>${message || "The key stays in this tab until it is closed."}</p>`;
}

function Page() {
  const [hash, setHash] = useState(location.hash);
  const [key, setKey] = useState(sessionStorage.getItem(KEY));
  const [message, setMessage] = useState("");
  const keep = (text) => { sessionStorage.setItem(KEY, text); setMessage(""); setKey(text); };
  const leave = (why) => { sessionStorage.removeItem(KEY); setMessage(why); setKey(null); };
  useEffect(() => {
    const moved = () => setHash(location.hash);
    addEventListener("hashchange", moved);
    return () => removeEventListener("hashchange", moved);
  }, []);
  const one = /^#\/(tenants|requests)\/([^/]+)$/.exec(hash);
  const find = (event) => { event.preventDefault(); location.hash = `#/requests/${encodeURIComponent(event.target.elements.id.value.trim())}`; };
  return html`<header><h1><a href="#/">vtc-gateway</a></h1>
      ${key && html`<button class="go" onClick=${() => leave("")}>Forget the key</button>`}</header>
    ${!key ? html`<${KeyForm} message=${message} onKey=${keep} />`
      : one ? html`<${One} kind=${one[1]} path=${`${one[1]}/${one[2]}`} refused=${leave} />`
      : html`<${Home} refused=${leave} /><h2>A request</h2><form onSubmit=${find}>
          <input name="id" placeholder="Id of a request" aria-label="Id of a request" required /><button class="go">Find</button></form>`}`;
}

document.getElementById("page").textContent = "";
render(html`<${Page} />`, document.getElementById("page"));
