"use strict";
{
  for (const chart of document.querySelectorAll(".chart")) {
    const spec = JSON.parse(chart.querySelector("script").textContent);
    vegaEmbed(chart.querySelector(".plot"), spec, {actions: false, renderer: "svg"});
  }

  // Slider: shows the frame of its position.
  for (const slider of document.querySelectorAll(".slider")) {
    const input = slider.querySelector("input");
    const frames = [...slider.querySelectorAll("figure")];
    const show = () => {
      frames.forEach((frame, i) => { frame.hidden = i !== input.valueAsNumber; });
      const text = frames[input.valueAsNumber].querySelector("figcaption").textContent;
      slider.querySelector("output").value = text;
      input.setAttribute("aria-valuetext", text);
    };
    input.addEventListener("input", show);
    slider.querySelector("label").hidden = frames.length < 2;
    show();
  }

  // Sortable tables: numbers as numbers, other text in natural order, missing values last.
  const key = (row, column) => {
    const text = row.cells[column].textContent.trim();
    const number = parseFloat(text.replace("∞", "Infinity").replaceAll(",", ""));
    return {text, number, missing: text === "-" || text === ""};
  };
  for (const button of document.querySelectorAll("th button")) {
    button.addEventListener("click", () => {
      const header = button.parentElement;
      const descending = header.ariaSort === "ascending";
      const body = header.closest("table").tBodies[0];
      const rows = [...body.rows].map((row) => ({row, ...key(row, header.cellIndex)}));
      rows.sort((a, b) => {
        if (a.missing || b.missing) return a.missing - b.missing;
        const numbers = !isNaN(a.number) && !isNaN(b.number);
        const order = numbers ? a.number - b.number : a.text.localeCompare(b.text, "en");
        return descending ? -order : order;
      });
      body.append(...rows.map((item) => item.row));
      for (const other of header.parentElement.cells) other.removeAttribute("aria-sort");
      header.ariaSort = descending ? "descending" : "ascending";
    });
  }

  // While the run goes on: reloads, and keeps sliders that are not at their ends.
  const reload = document.querySelector("#reload");
  if (reload) {
    const inputs = [...document.querySelectorAll(".slider input")];
    const kept = JSON.parse(sessionStorage.getItem(location.pathname) ?? "{}");
    inputs.forEach((input, i) => {
      if (kept.values?.[i]) input.value = kept.values[i];
      input.dispatchEvent(new Event("input"));
    });
    inputs[kept.focus]?.focus({preventScroll: true});
    setInterval(() => {
      if (!reload.checked) return;
      const values = inputs.map(({value, max}) => (value === max ? null : value));
      const focus = inputs.indexOf(document.activeElement);
      sessionStorage.setItem(location.pathname, JSON.stringify({values, focus}));
      location.reload();
    }, 5000);
  }
}
