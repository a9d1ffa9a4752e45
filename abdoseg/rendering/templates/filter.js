// Rows whose text holds every word that is looked for, and whose status is ticked; the others are hidden.
(() => {
  const find = document.getElementById("find"), shown = document.getElementById("shown");
  const boxes = [...document.querySelectorAll(".filter input[type=checkbox]")];
  const rows = [...document.getElementById("case-table").tBodies[0].rows].map(row => [row, row.textContent.toLowerCase()]);
  const filter = () => {
    const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
    const statuses = new Set(boxes.filter(box => box.checked).map(box => box.value));
    let count = 0;
    for (const [row, text] of rows) {
      row.hidden = !statuses.has(row.dataset.status) || !words.every(word => text.includes(word));
      count += !row.hidden;
    }
    shown.textContent = `${count} of ${rows.length} cases`;
  };
  [find, ...boxes].forEach(input => input.addEventListener("input", filter));
  find.form.addEventListener("submit", event => event.preventDefault());
  filter();
})();
