// A click on a header sorts its table: numbers as numbers, empty cells last.
document.querySelectorAll("table.sortable").forEach(table => {
  const headers = [...table.tHead.rows[0].cells], body = table.tBodies[0];
  headers.forEach((header, column) => {
    const button = header.querySelector("button");
    if (!button) return;
    button.addEventListener("click", () => {
      const up = header.getAttribute("aria-sort") !== "ascending";
      headers.forEach(other => other.removeAttribute("aria-sort"));
      header.setAttribute("aria-sort", up ? "ascending" : "descending");
      const key = row => {
        const cell = row.cells[column], text = cell.dataset.sort ?? cell.textContent.trim();
        const value = Number(text.replace(/^(-?)inf$/, "$1Infinity"));
        return text === "" ? null : isNaN(value) ? text : value;
      };
      const order = (a, b) => {
        if (a === null || b === null) return (a === null) - (b === null);
        const way = typeof a === "number" && typeof b === "number" ? (a > b) - (a < b) : String(a).localeCompare(b);
        return up ? way : -way;
      };
      const keyed = [...body.rows].map(row => [key(row), row]);
      keyed.sort((a, b) => order(a[0], b[0])).forEach(([, row]) => body.append(row));
    });
  });
});
