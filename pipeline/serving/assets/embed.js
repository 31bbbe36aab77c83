/* A shop's question box: <script src="https://…/embed.js" defer></script> on the shop's pages. It asks the server that it came
   from and nobody else, keeps nothing, and sets no cookie. The product is the script's data-product (title or uid), else the
   page's [data-shelftalk-product], else og:title, else the first h1; data-theme="light" or "dark" overrides the browser's. */
(() => {
  "use strict";
  const script = document.currentScript || document.querySelector('script[src*="/embed.js"]');
  if (!script || document.getElementById("shelftalk")) return;
  const ADDRESS = new URL("v1/chat/completions", script.src).href;
  const MODEL = "__MODEL__";
  const PATIENCE = 60000; // milliseconds

  const STYLE = `
:host{all:initial;--back:#fff;--text:#1d1b19;--soft:#5d5751;--line:#8c857d;--own:#efe9e1;--accent:#8a3b12;--on:#fff;
  position:fixed;inset-block-end:16px;inset-inline-end:16px;z-index:2147483000;color-scheme:light;
  font:16px/1.45 system-ui,sans-serif}
:host([data-theme=dark]){DARK}
@media(prefers-color-scheme:dark){:host(:not([data-theme=light])){DARK}}
*{box-sizing:border-box;font:inherit;color:inherit}
[hidden]{display:none!important}
button{cursor:pointer;border:1px solid transparent;border-radius:10px;padding:9px 16px;background:var(--accent);color:var(--on);
  font-weight:600}
button:disabled{opacity:.65;cursor:default}
:focus-visible{outline:3px solid var(--accent);outline-offset:2px}
#open{box-shadow:0 2px 10px #0005;border-radius:999px}
#box{position:absolute;inset-block-end:0;inset-inline-end:0;width:360px;max-height:min(560px,calc(100vh - 32px));display:flex;
  flex-direction:column;background:var(--back);color:var(--text);border:1px solid var(--line);border-radius:14px;
  box-shadow:0 6px 30px #0006;overflow:hidden}
header{display:flex;gap:8px;align-items:center;padding:8px 8px 8px 14px;border-bottom:1px solid var(--line)}
h2{margin:0;flex:1;font-weight:600;min-width:0;overflow:hidden;text-overflow:ellipsis;white-space:nowrap}
header button{background:none;color:var(--soft);padding:4px 11px;font-size:20px;line-height:1.2}
#log{flex:1;overflow-y:auto;padding:12px 14px;display:flex;flex-direction:column;gap:10px;min-height:120px}
#log>*{max-width:92%;overflow-wrap:anywhere}
p{margin:0}
.asked{align-self:flex-end;background:var(--own);border-radius:12px 12px 2px;padding:7px 12px}
.told{align-self:flex-start}
.told.value>p:first-child{font-weight:600}
.small{font-size:14px;color:var(--soft);margin-top:3px}
blockquote{margin:5px 0 0;padding:1px 0 1px 10px;border-inline-start:3px solid var(--accent);font-size:14px;color:var(--soft)}
form{display:flex;gap:8px;padding:10px;border-top:1px solid var(--line)}
input{flex:1;min-width:0;padding:8px 11px;border:1px solid var(--line);border-radius:10px;background:var(--back);color:var(--text)}
::placeholder{color:var(--soft);opacity:1}
.unseen{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
@media(max-width:480px){:host{inset-inline:8px;inset-block-end:8px}#open{float:inline-end}#box{width:100%;max-height:calc(100vh - 16px)}}
@media print{:host{display:none}}`.replace(
    /DARK/g,
    "--back:#1f1d1b;--text:#f3efe9;--soft:#bcb4aa;--line:#7d756c;--own:#3a332c;--accent:#f0a067;--on:#241305;color-scheme:dark",
  );

  const make = (tag, properties = {}, ...inside) => {
    const made = Object.assign(document.createElement(tag), properties);
    made.append(...inside);
    return made;
  };
  const said = (name) => (document.querySelector(name)?.textContent || "").trim();
  // Looked for at every question: a shop may change its page without loading another.
  const product = () =>
    (
      script.dataset.product ||
      document.querySelector("[data-shelftalk-product]")?.dataset.shelftalkProduct ||
      document.querySelector('meta[property="og:title"]')?.content ||
      said("h1")
    )
      .trim()
      .slice(0, 300);

  const open = make("button", { id: "open", type: "button", textContent: script.dataset.label || "Ask a question" });
  const log = make("div", { id: "log", role: "log", tabIndex: 0, ariaLabel: "Questions and answers" });
  const input = make("input", { id: "question", maxLength: 1000, autocomplete: "off", placeholder: "Your question", required: true });
  const send = make("button", { type: "submit", textContent: "Ask" });
  const label = make("label", { className: "unseen", htmlFor: "question", textContent: "Your question" });
  const form = make("form", {}, label, input, send);
  const heading = make("h2", { id: "heading", textContent: script.dataset.label || "Ask a question" });
  const close = make("button", { type: "button", textContent: "×", ariaLabel: "Close" });
  const box = make("section", { id: "box", hidden: true, role: "dialog" }, make("header", {}, heading, close), log, form);
  box.setAttribute("aria-labelledby", "heading");
  open.setAttribute("aria-expanded", "false");
  open.setAttribute("aria-controls", "box");

  const show = (is_open) => {
    box.hidden = !is_open;
    open.hidden = is_open;
    open.setAttribute("aria-expanded", String(is_open));
    (is_open ? input : open).focus();
  };
  const add = (kind, ...inside) => {
    const line = make("div", { className: kind }, ...inside);
    log.append(line);
    log.scrollTop = log.scrollHeight;
    return line;
  };
  const paragraph = (textContent, className = "") => make("p", { textContent, className });

  const tell = (line, message, page) => {
    const from = message.shelftalk || {};
    line.className = `told ${from.says || ""}`;
    line.dataset.says = from.says || "";
    line.replaceChildren(paragraph(message.content));
    if (from.way === "shop" && from.says === "value") {
      line.append(paragraph("Answered by the shop.", "small"));
    } else if (from.source && from.source !== message.content) {
      line.append(paragraph("The product's description says:", "small"), make("blockquote", { textContent: from.source }));
    } else if (from.source) {
      line.append(paragraph("This is what the product's description says.", "small"));
    } else if (from.says === "silent") {
      line.append(paragraph("The product's description says nothing of it, so please ask the shop.", "small"));
    }
    const about = from.product && from.product.title;
    if (about && about !== page && from.product.uid !== page) line.append(paragraph(`About: ${about}`, "small"));
  };
  const problem = async (reply) => {
    if (reply.status === 429) return `Too many questions; please try again in ${reply.headers.get("retry-after") || 60} s.`;
    const error = (await reply.json().catch(() => ({}))).error || {};
    if (reply.status === 400) return error.message || "This cannot be asked; please put it in other words.";
    console.warn(`Shelftalk: ${error.message || reply.status}`);
    return "Nobody can answer just now; please try again later.";
  };
  const ask = async (question) => {
    const page = product();
    const line = add("told", paragraph("Looking it up …", "small"));
    const until = AbortSignal.timeout(PATIENCE);
    try {
      const reply = await fetch(ADDRESS, {
        method: "POST",
        credentials: "omit",
        referrerPolicy: "origin",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ model: MODEL, product: page, messages: [{ role: "user", content: question }] }),
        signal: until,
      });
      if (reply.ok) tell(line, (await reply.json()).choices[0].message, page);
      else line.replaceChildren(paragraph(await problem(reply)));
    } catch (error) {
      console.warn(`Shelftalk: ${ADDRESS} does not answer this page (${error}). Is it served with --origin ${location.origin}?`);
      line.replaceChildren(paragraph("Nobody can answer just now; please try again later."));
    }
    line.dataset.state = "done";
    log.scrollTop = log.scrollHeight;
  };

  open.addEventListener("click", () => show(true));
  close.addEventListener("click", () => show(false));
  box.addEventListener("keydown", (event) => {
    event.stopPropagation(); // a shop's own shortcuts are not meant
    if (event.key === "Escape") show(false);
  });
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const question = input.value.trim();
    if (!question || send.disabled) return;
    add("asked", paragraph(question));
    input.value = "";
    send.disabled = true;
    await ask(question);
    send.disabled = false;
    if (!box.hidden) input.focus();
  });

  const host = make("div", { id: "shelftalk" });
  if (script.dataset.theme) host.dataset.theme = script.dataset.theme;
  const root = host.attachShadow({ mode: "open" });
  const sheet = new CSSStyleSheet(); // unlike a <style>, no page's policy forbids it
  sheet.replaceSync(STYLE);
  root.adoptedStyleSheets = [sheet];
  root.append(open, box);
  const place = () => document.body.append(host);
  if (document.body) place();
  else document.addEventListener("DOMContentLoaded", place);
})();
