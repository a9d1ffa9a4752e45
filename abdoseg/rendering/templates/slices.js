// Slices of a scan in three planes, with its organs' contours. Without canvas or scripts the picture below stays.
(async () => {
  const data = JSON.parse(document.getElementById("slices-data")?.textContent ?? "null");
  if (!data) return;
  const [columns, rows, slices] = data.size;

  // A picture of all slices side by side, as one byte a voxel: column, then row, then slice.
  const decode = async uri => {
    const image = new Image();
    image.src = uri;
    await image.decode();
    const voxels = new Uint8Array(columns * rows * slices);
    const strip = Object.assign(document.createElement("canvas"), {width: image.width, height: rows});
    const context = strip.getContext("2d", {willReadFrequently: true});
    for (let first = 0; first < slices; first += data.tiles) {
      context.drawImage(image, 0, -first / data.tiles * rows);
      const pixels = context.getImageData(0, 0, image.width, rows).data;
      for (let tile = 0; tile < Math.min(data.tiles, slices - first); tile++)
        for (let row = 0; row < rows; row++) {
          let from = 4 * (row * image.width + tile * columns), to = ((first + tile) * rows + row) * columns;
          for (const end = to + columns; to < end; to++, from += 4) voxels[to] = pixels[from];
        }
    }
    return voxels;
  };
  const [scan, labels, truth] = await Promise.all(
    [data.scan, data.labels, data.truth].map(uri => uri ? decode(uri) : null));

  // Each plane's picture: its size, mm a pixel, and the voxel under a pixel when `at` is the slice.
  const PLANES = {
    axial: {axis: 2, wide: columns, tall: rows, mm: [data.mm[0], data.mm[1]], edges: "RLAP", axes: [0, 1],
            voxel: (x, y, at) => (at * rows + y) * columns + x},
    coronal: {axis: 1, wide: columns, tall: slices, mm: [data.mm[0], data.mm[2]], edges: "RLSI", axes: [0, 2],
              voxel: (x, y, at) => ((slices - 1 - y) * rows + at) * columns + x},
    sagittal: {axis: 0, wide: rows, tall: slices, mm: [data.mm[1], data.mm[2]], edges: "APSI", axes: [1, 2],
               voxel: (x, y, at) => ((slices - 1 - y) * rows + x) * columns + at},
  };
  const LETTERS = ["LR", "PA", "IS"];
  const state = {at: [...data.start], window: Object.values(data.windows)[0], overlay: "contours", hidden: new Set()};

  const grey = () => {
    const [low, high] = state.window;
    return Uint8ClampedArray.from(data.hu, hu => 255 * (hu - low) / (high - low));
  };
  let greys = grey();

  const cut = (voxels, plane, at) => {
    const {wide, tall, voxel} = PLANES[plane], found = new Uint8Array(wide * tall);
    for (let y = 0, n = 0; y < tall; y++) for (let x = 0; x < wide; x++) found[n++] = voxels[voxel(x, y, at)];
    return found;
  };
  // Marching squares between pixel centres, as a path in pixels.
  const SEGMENTS = [[], [[3, 0]], [[0, 1]], [[3, 1]], [[1, 2]], [[3, 0], [1, 2]], [[0, 2]], [[3, 2]], [[2, 3]], [[2, 0]],
                    [[0, 1], [2, 3]], [[2, 1]], [[1, 3]], [[1, 0]], [[0, 3]], []];
  const outline = (found, wide, tall, label, scale) => {
    const path = new Path2D(), is = (x, y) => x >= 0 && y >= 0 && x < wide && y < tall && found[y * wide + x] === label;
    for (let y = -1; y < tall; y++) for (let x = -1; x < wide; x++) {
      const pattern = is(x, y) + 2 * is(x + 1, y) + 4 * is(x + 1, y + 1) + 8 * is(x, y + 1);
      if (pattern === 0 || pattern === 15) continue;
      const middle = side => [x + [1, 1.5, 1, 0.5][side], y + [0.5, 1, 1.5, 1][side]];
      for (const [from, to] of SEGMENTS[pattern]) {
        const [a, b] = [middle(from), middle(to)];
        path.moveTo(a[0] * scale[0], a[1] * scale[1]);
        path.lineTo(b[0] * scale[0], b[1] * scale[1]);
      }
    }
    return path;
  };

  const views = [...document.querySelectorAll("[data-plane]")].map(box => {
    const plane = box.dataset.plane, canvas = box.querySelector("canvas"), slider = box.querySelector("input");
    slider.max = data.size[PLANES[plane].axis] - 1;
    return {plane, canvas, slider, caption: box.querySelector("output"), ...PLANES[plane]};
  });
  const draw = view => {
    const {canvas, plane, wide, tall, mm, axis} = view, at = state.at[axis], ratio = window.devicePixelRatio || 1;
    const width = Math.round(canvas.clientWidth * ratio), height = Math.round(canvas.clientHeight * ratio);
    if (!width || !height) return;
    Object.assign(canvas, {width, height});
    const context = canvas.getContext("2d"), perMm = Math.min(width / (wide * mm[0]), height / (tall * mm[1]));
    const scale = [perMm * mm[0], perMm * mm[1]];
    const left = (width - wide * scale[0]) / 2, top = (height - tall * scale[1]) / 2;
    Object.assign(view, {left: left / ratio, top: top / ratio, scale: scale.map(value => value / ratio)});
    context.translate(left, top);
    const picture = new ImageData(wide, tall), pixels = new Uint32Array(picture.data.buffer);
    if (scan) cut(scan, plane, at).forEach((level, n) => { pixels[n] = 0xff000000 | greys[level] * 0x10101; });
    else pixels.fill(0xff181818);
    const small = new OffscreenCanvas(wide, tall);
    small.getContext("2d").putImageData(picture, 0, 0);
    context.imageSmoothingQuality = "high";
    context.drawImage(small, 0, 0, wide * scale[0], tall * scale[1]);
    context.lineJoin = context.lineCap = "round";
    const found = state.overlay === "none" ? null : cut(labels, plane, at);
    if (found) {
      const there = new Set(found);
      for (const organ of data.organs) {
        if (!there.has(organ.label) || state.hidden.has(organ.organ)) continue;
        context.strokeStyle = organ.colour;
        context.lineWidth = 1.6 * ratio;
        context.stroke(outline(found, wide, tall, organ.label, scale));
        if (state.overlay !== "filled") continue;
        context.globalAlpha = 0.3;
        context.fillStyle = organ.colour;
        for (let y = 0; y < tall; y++) for (let x = 0, start = -1; x <= wide; x++) {
          const inside = x < wide && found[y * wide + x] === organ.label;
          if (inside && start < 0) start = x;
          if (!inside && start >= 0) {
            context.fillRect(start * scale[0], y * scale[1], (x - start) * scale[0], scale[1]);
            start = -1;
          }
        }
        context.globalAlpha = 1;
      }
      if (truth) {
        const other = cut(truth, plane, at);
        context.strokeStyle = "#fff";
        context.lineWidth = ratio;
        for (const label of new Set(other)) if (label) context.stroke(outline(other, wide, tall, label, scale));
      }
    }
    const [x, y] = view.axes.map(which => state.at[which]).map((place, n) =>
      ((n && view.axis !== 2 ? slices - 1 - place : place) + 0.5) * scale[n]);
    context.strokeStyle = "rgb(120 190 255 / .55)";  // where the other planes cut this one
    context.lineWidth = ratio;
    context.setLineDash([5 * ratio, 5 * ratio]);
    context.beginPath();
    context.moveTo(x, 0); context.lineTo(x, tall * scale[1]);
    context.moveTo(0, y); context.lineTo(wide * scale[0], y);
    context.stroke();
    context.setLineDash([]);
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    const [w, h] = [canvas.clientWidth, canvas.clientHeight];
    context.font = "13px system-ui, sans-serif";
    const write = (text, px, py, align, baseline) => {
      Object.assign(context, {textAlign: align, textBaseline: baseline, lineWidth: 3, strokeStyle: "#000"});
      context.strokeText(text, px, py);
      context.fillStyle = "#e8eaee";
      context.fillText(text, px, py);
    };
    for (const lesion of found ? data.lesions : []) {  // its number stands on the right of what is seen of it
      const [low, high] = lesion.box[axis], organ = data.organs.find(one => one.organ === data.lesion);
      if (at < low || at > high || state.hidden.has(data.lesion)) continue;
      const [[left, right], [first, last]] = view.axes.map(which => lesion.box[which]);
      const [top, bottom] = axis === 2 ? [first, last] : [slices - 1 - last, slices - 1 - first];
      let place = null;
      for (let y = top; y <= bottom; y++) for (let x = left; x <= right; x++)
        if (found[y * wide + x] === organ.label && (!place || x > place[0])) place = [x, y];
      if (place) write(String(lesion.number), view.left + (place[0] + 1) * view.scale[0] + 3,
                       view.top + (place[1] + 0.5) * view.scale[1], "left", "middle");
    }
    [[6, h / 2, "left", "middle"], [w - 6, h / 2, "right", "middle"], [w / 2, 5, "center", "top"],
     [w / 2, h - 5, "center", "bottom"]].forEach((place, n) => write(view.edges[n], ...place));
    const bar = [100, 50, 10].find(length => length * perMm / ratio < w / 3) ?? 10, long = bar * perMm / ratio;
    context.fillRect(w - 10 - long, h - 8, long, 2);
    write(`${bar / 10} cm`, w - 10 - long / 2, h - 11, "center", "bottom");
    if (axis === 2 && scan) {
      const [low, high] = state.window;
      write(`W ${high - low}  L ${(low + high) / 2}`, 6, 5, "left", "top");
    }
    const place = data.places[axis][0] + at * data.places[axis][1], letter = LETTERS[axis][+(place >= 0)];
    const number = axis === 2 ? `, slice ${data.numbers[0] + at * data.numbers[1]}` : "";
    view.caption.textContent = `${plane} ${letter} ${Math.abs(place).toFixed(1)} mm${number}`;
    view.slider.value = axis === 2 ? at : axis === 1 ? rows - 1 - at : at;
  };
  let waiting = false;
  const redraw = () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; views.forEach(draw); });
  };
  const go = (axis, at) => {
    state.at[axis] = Math.max(0, Math.min(data.size[axis] - 1, Math.round(at)));
    redraw();
  };

  for (const view of views) {
    view.slider.addEventListener("input", () => go(view.axis, view.axis === 1 ? rows - 1 - view.slider.value : +view.slider.value));
    let rolled = 0;
    view.canvas.addEventListener("wheel", event => {
      if (event.ctrlKey) return;
      event.preventDefault();
      rolled += event.deltaMode ? 40 * event.deltaY : event.deltaY;
      const steps = Math.trunc(rolled / 40);
      rolled -= 40 * steps;
      if (steps) go(view.axis, state.at[view.axis] + (view.axis === 2 ? -steps : steps));
    }, {passive: false});
    const point = event => {
      const box = view.canvas.getBoundingClientRect();
      const x = (event.clientX - box.left - view.left) / view.scale[0] - 0.5;
      const y = (event.clientY - box.top - view.top) / view.scale[1] - 0.5;
      go(view.axes[0], x);
      go(view.axes[1], view.axis === 2 ? y : slices - 1 - y);
    };
    view.canvas.addEventListener("pointerdown", event => { view.canvas.setPointerCapture(event.pointerId); point(event); });
    view.canvas.addEventListener("pointermove", event => {
      if (view.canvas.hasPointerCapture(event.pointerId)) point(event);
    });
    view.canvas.addEventListener("keydown", event => {
      const step = {ArrowUp: 1, ArrowDown: -1, PageUp: 10, PageDown: -10}[event.key];
      if (!step) return;
      event.preventDefault();
      go(view.axis, state.at[view.axis] + (view.axis === 2 ? step : -step));
    });
  }
  const press = (name, use) => document.querySelectorAll(`button[data-${name}]`).forEach(button =>
    button.addEventListener("click", () => {
      document.querySelectorAll(`button[data-${name}]`).forEach(other => other.setAttribute("aria-pressed", other === button));
      use(button.dataset[name]);
      redraw();
    }));
  press("window", name => { state.window = data.windows[name]; greys = grey(); });
  press("overlay", name => { state.overlay = name; });
  document.querySelectorAll("input[data-organ]").forEach(box => box.addEventListener("change", () => {
    state.hidden[box.checked ? "delete" : "add"](box.dataset.organ);
    redraw();
  }));
  document.querySelectorAll("button[data-lesion]").forEach(button => button.addEventListener("click", () => {
    state.at = [...data.lesions[button.dataset.lesion].place];
    redraw();
    document.getElementById("slices").scrollIntoView({block: "nearest"});
  }));
  document.getElementById("slices-still").hidden = true;
  const board = document.getElementById("slices");
  views.forEach(view => { view.canvas.parentElement.hidden = false; });
  new ResizeObserver(redraw).observe(board);
  views.forEach(draw);
  board.dataset.ready = "yes";
})();
