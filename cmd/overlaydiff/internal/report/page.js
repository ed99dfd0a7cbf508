"use strict";
// The map of each overlay, and the filter and order of its table of files.

const svgNS = "http://www.w3.org/2000/svg";

function human(n) {
  if (n < 1024) return n + " B";
  let i = -1;
  do { n /= 1024; i++; } while (n >= 1024 && i < 5);
  return n.toFixed(1) + " " + "KMGTPE"[i] + "iB";
}

const label = (c) => c.m ? c.m.toLocaleString("en") + " others" : c.n;

// squarify divides a rectangle among cells by their bytes, so that each part is as
// square as can be (Bruls, Huizing, van Wijk: Squarified Treemaps, 2000).
function squarify(cells, x, y, w, h) {
  const placed = [];
  let rest = cells.filter((c) => c.b > 0).sort((a, b) => b.b - a.b);
  let total = rest.reduce((sum, c) => sum + c.b, 0);
  while (rest.length && w > 0 && h > 0) {
    const side = Math.min(w, h), scale = w * h / total;
    let row = 0, sum = 0, worst = Infinity;
    while (row < rest.length) {
      const next = sum + rest[row].b, area = next * scale;
      const shape = Math.max(side * side * rest[0].b * scale / (area * area), area * area / (side * side * rest[row].b * scale));
      if (shape > worst) break;
      worst = shape; sum = next; row++;
    }
    const thick = sum * scale / side;
    let at = 0;
    for (const c of rest.slice(0, row)) {
      const long = c.b * scale / thick;
      placed.push(w >= h ? { c, x, y: y + at, w: thick, h: long } : { c, x: x + at, y, w: long, h: thick });
      at += long;
    }
    if (w >= h) { x += thick; w -= thick; } else { y += thick; h -= thick; }
    total -= sum;
    rest = rest.slice(row);
  }
  return placed;
}

class Treemap {
  constructor(element) {
    this.stage = element.querySelector(".stage");
    this.crumbs = element.querySelector(".crumbs");
    this.path = [JSON.parse(document.getElementById(element.dataset.map).textContent)];
    new ResizeObserver(() => this.draw()).observe(this.stage);
  }

  go(path, focus) {
    this.path = path;
    this.draw();
    if (focus) this.crumbs.lastElementChild.focus();
  }

  draw() {
    const w = this.stage.clientWidth, h = this.stage.clientHeight;
    const root = this.path[this.path.length - 1];
    this.crumbs.replaceChildren(...this.path.map((c, i) => {
      const b = document.createElement("button");
      b.textContent = c.n + (i ? "/" : "");
      if (i === this.path.length - 1) b.textContent += " " + human(c.b);
      b.addEventListener("click", () => this.go(this.path.slice(0, i + 1), true));
      return b;
    }));
    const svg = document.createElementNS(svgNS, "svg");
    svg.setAttribute("viewBox", `0 0 ${w} ${h}`);
    svg.setAttribute("role", "group");
    svg.setAttribute("aria-label", `${root.n}, ${human(root.b)}`);
    if (root.c) this.fill(svg, root, 0, 0, w, h, 0, []);
    else {
      const text = document.createElementNS(svgNS, "text");
      text.setAttribute("x", 12); text.setAttribute("y", 24);
      text.textContent = "Nothing was added or changed that has bytes.";
      svg.append(text);
    }
    this.stage.replaceChildren(svg);
  }

  // fill draws what is in a directory, and what is in that as long as it can be seen.
  fill(parent, dir, x, y, w, h, depth, above) {
    for (const p of squarify(dir.c, x, y, w, h)) {
      if (p.w * p.h < 9) continue; // nobody sees it
      const c = p.c, path = [...above, c];
      const g = document.createElementNS(svgNS, "g");
      const inside = c.d && c.c && depth < 12 && p.w > 24 && p.h > 30; // what is in it can be seen
      if (c.d) g.classList.add("dir");
      if (!inside) g.classList.add(c.m ? "more" : c.w ? "waste" : c.k || "more");
      g.dataset.bytes = c.b;
      const rect = document.createElementNS(svgNS, "rect");
      for (const [k, v] of Object.entries({ x: p.x, y: p.y, width: p.w, height: p.h })) rect.setAttribute(k, v.toFixed(2));
      const title = document.createElementNS(svgNS, "title");
      title.textContent = path.map(label).join("/") + "\n" + human(c.b);
      g.append(title, rect);
      parent.append(g);
      const room = Math.floor((p.w - 8) / 6.2);
      if (p.h > 16 && room > 4) {
        const text = document.createElementNS(svgNS, "text");
        text.setAttribute("x", (p.x + 4).toFixed(1));
        text.setAttribute("y", (p.y + 13).toFixed(1));
        const name = label(c) + (c.d ? "/" : ""), size = human(c.b);
        text.textContent = name.length > room ? name.slice(0, room - 1) + "\u2026" : name.length + size.length + 2 <= room ? name + "  " + size : name;
        g.append(text);
      }
      if (depth === 0 || c.d) {
        g.setAttribute("aria-label", label(c) + ", " + human(c.b));
      }
      if (!c.d) continue;
      if (depth === 0) {
        g.setAttribute("tabindex", "0");
        g.setAttribute("role", "button");
      }
      g.addEventListener("click", (e) => { e.stopPropagation(); this.go([...this.path, ...path], false); });
      g.addEventListener("keydown", (e) => {
        if (e.key === "Enter" || e.key === " ") { e.preventDefault(); e.stopPropagation(); this.go([...this.path, ...path], true); }
      });
      if (inside) this.fill(g, c, p.x + 2, p.y + 17, p.w - 4, p.h - 19, depth + 1, path);
    }
  }
}

function filter(element) {
  const rows = [...document.getElementById(element.dataset.filter).tBodies[0].rows];
  const search = element.querySelector("input[type=search]");
  const boxes = Object.fromEntries([...element.querySelectorAll("input[type=checkbox]")].map((b) => [b.value, b]));
  const apply = () => {
    const text = search.value.toLowerCase();
    let shown = 0;
    for (const r of rows) {
      const kind = r.cells[1].textContent, path = r.cells[2];
      r.hidden = !boxes[kind].checked || boxes.waste.checked && !path.querySelector(".tag") || !path.textContent.toLowerCase().includes(text);
      shown += !r.hidden;
    }
    element.querySelector("output").textContent = shown === rows.length ? `${shown} files` : `${shown} of ${rows.length} files`;
  };
  element.addEventListener("input", apply);
  element.hidden = false;
  apply();
}

function sortable(table) {
  const heads = [...table.tHead.rows[0].cells];
  const sort = (i) => {
    const head = heads[i], up = head.getAttribute("aria-sort") === "descending";
    for (const h of heads) h.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const value = (r) => head.dataset.sort === "number" ? Number(r.cells[i].dataset.value) : r.cells[i].textContent;
    const rows = [...table.tBodies[0].rows].map((r) => [value(r), r]);
    rows.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0) * (up ? 1 : -1));
    table.tBodies[0].append(...rows.map(([, r]) => r));
  };
  heads.forEach((h, i) => {
    h.tabIndex = 0;
    h.addEventListener("click", () => sort(i));
    h.addEventListener("keydown", (e) => { if (e.key === "Enter") sort(i); });
  });
}

document.querySelectorAll("[data-map]").forEach((e) => new Treemap(e));
document.querySelectorAll("[data-filter]").forEach(filter);
document.querySelectorAll(".sortable").forEach(sortable);
