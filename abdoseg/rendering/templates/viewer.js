// Organs that turn under the mouse, a finger or the arrow keys. WebGL 2 alone; without it the picture below stays.
(() => {
  const canvas = document.getElementById("organs"), still = document.getElementById("organs-still");
  const gl = canvas && canvas.getContext("webgl2", {antialias: true, alpha: false, preserveDrawingBuffer: true});
  if (!gl) return;
  const shader = (kind, text) => {
    const made = gl.createShader(kind);
    gl.shaderSource(made, text);
    gl.compileShader(made);
    return made;
  };
  const program = gl.createProgram();
  gl.attachShader(program, shader(gl.VERTEX_SHADER, `#version 300 es
    in vec3 place; in vec3 normal; uniform mat3 view; uniform vec2 scale; uniform float depth; out vec3 facing;
    void main() {
      vec3 seen = view * place;
      facing = view * normal;
      gl_Position = vec4(seen.xy * scale, -seen.z * depth, 1.0);
    }`));
  gl.attachShader(program, shader(gl.FRAGMENT_SHADER, `#version 300 es
    precision highp float;
    in vec3 facing; uniform vec3 colour; uniform float opacity; out vec4 pixel;
    const vec3 key = normalize(vec3(-0.45, 0.55, 0.70)), between = normalize(key + vec3(0.0, 0.0, 1.0));
    void main() {
      vec3 n = normalize(facing);
      float lit = 0.22 + 0.52 * max(dot(n, key), 0.0) + 0.34 * max(n.z, 0.0);
      float gloss = 0.15 * pow(max(dot(n, between), 0.0), 40.0);
      pixel = vec4(colour * lit + gloss, opacity);
    }`));
  gl.bindAttribLocation(program, 0, "place");
  gl.bindAttribLocation(program, 1, "normal");
  gl.linkProgram(program);
  gl.useProgram(program);
  const uniform = name => gl.getUniformLocation(program, name);
  const at = {view: uniform("view"), scale: uniform("scale"), depth: uniform("depth"), colour: uniform("colour"),
              opacity: uniform("opacity")};
  const bytes = text => Uint8Array.from(atob(text), letter => letter.charCodeAt(0)).buffer;

  const normalsOf = (points, corners) => {
    const normals = new Float32Array(points.length);
    for (let t = 0; t < corners.length; t += 3) {
      const [a, b, c] = [3 * corners[t], 3 * corners[t + 1], 3 * corners[t + 2]];
      const u = [0, 1, 2].map(k => points[b + k] - points[a + k]), v = [0, 1, 2].map(k => points[c + k] - points[a + k]);
      const across = [u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]];
      for (const corner of [a, b, c]) for (let k = 0; k < 3; k++) normals[corner + k] += across[k];
    }
    return normals;
  };
  const buffer = (kind, data) => {
    gl.bindBuffer(kind, gl.createBuffer());
    gl.bufferData(kind, data, gl.STATIC_DRAW);
  };
  const scene = JSON.parse(document.getElementById("organs-data").textContent);
  const solids = scene.solids.map(solid => {
    const whole = new Uint16Array(bytes(solid.points)), corners = Uint32Array.from(
      new (solid.short ? Uint16Array : Uint32Array)(bytes(solid.triangles)));
    const points = Float32Array.from(whole, (value, n) => solid.origin[n % 3] + value * solid.step);
    const array = gl.createVertexArray();
    gl.bindVertexArray(array);
    for (const [place, data] of [points, normalsOf(points, corners)].entries()) {
      buffer(gl.ARRAY_BUFFER, data);
      gl.enableVertexAttribArray(place);
      gl.vertexAttribPointer(place, 3, gl.FLOAT, false, 0, 0);
    }
    buffer(gl.ELEMENT_ARRAY_BUFFER, corners);
    return {...solid, array, count: corners.length, shown: true};
  });

  let turn = 0, rise = 14, zoom = 1;
  const view = () => {
    const [t, r] = [turn * Math.PI / 180, rise * Math.PI / 180];
    const right = [-Math.cos(t), -Math.sin(t), 0], ahead = [-Math.sin(t), Math.cos(t), 0];
    const up = [-Math.sin(r) * ahead[0], -Math.sin(r) * ahead[1], Math.cos(r)];
    const eye = [Math.cos(r) * ahead[0], Math.cos(r) * ahead[1], Math.sin(r)];
    return [0, 1, 2].flatMap(axis => [right[axis], up[axis], eye[axis]]);
  };
  const draw = () => {
    const ratio = window.devicePixelRatio || 1, wide = canvas.clientWidth, tall = canvas.clientHeight;
    canvas.width = Math.round(wide * ratio);
    canvas.height = Math.round(tall * ratio);
    gl.viewport(0, 0, canvas.width, canvas.height);
    const height = scene.tall * Math.cos(rise * Math.PI / 180) + scene.across * Math.abs(Math.sin(rise * Math.PI / 180));
    const perMm = 0.47 * zoom * Math.min(wide / scene.across, tall / height);
    gl.uniformMatrix3fv(at.view, false, view());
    gl.uniform2f(at.scale, 2 * perMm / wide, 2 * perMm / tall);
    gl.uniform1f(at.depth, 0.9 / (scene.across + scene.tall));
    gl.clearColor(14 / 255, 16 / 255, 20 / 255, 1);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    gl.enable(gl.DEPTH_TEST);
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.SRC_ALPHA, gl.ONE_MINUS_SRC_ALPHA);
    for (const inner of [false, true]) {  // lesions are seen through the organs around them
      if (inner) gl.clear(gl.DEPTH_BUFFER_BIT);
      for (const solid of solids.filter(solid => solid.shown && solid.inner === inner)) {
        gl.bindVertexArray(solid.array);
        gl.uniform3fv(at.colour, solid.colour.map(channel => channel / 255));
        gl.uniform1f(at.opacity, inner ? 0.6 : 1);
        gl.drawElements(gl.TRIANGLES, solid.count, gl.UNSIGNED_INT, 0);
      }
    }
    const quarter = Math.round(((turn % 360) + 360) % 360 / 90) % 4;
    const from = Math.abs(rise) > 60 ? (rise > 0 ? "above" : "below")
      : ["the front", "the patient's left", "behind", "the patient's right"][quarter];
    document.getElementById("organs-from").textContent = `seen from ${from}`;
  };
  let waiting = false;
  const redraw = () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; draw(); });
  };
  const move = (across, down) => {
    turn += across;
    rise = Math.max(-90, Math.min(90, rise + down));
    redraw();
  };
  const closer = factor => { zoom = Math.max(0.5, Math.min(8, zoom * factor)); redraw(); };
  canvas.addEventListener("pointerdown", event => canvas.setPointerCapture(event.pointerId));
  canvas.addEventListener("pointermove", event => {
    if (canvas.hasPointerCapture(event.pointerId)) move(-event.movementX * 0.5, event.movementY * 0.5);
  });
  canvas.addEventListener("wheel", event => {
    if (!event.ctrlKey) return;
    event.preventDefault();
    closer(Math.exp(-event.deltaY / 300));
  }, {passive: false});
  canvas.addEventListener("dblclick", () => { [turn, rise, zoom] = [0, 14, 1]; redraw(); });
  const keys = {ArrowLeft: [6, 0], ArrowRight: [-6, 0], ArrowUp: [0, -6], ArrowDown: [0, 6]};
  canvas.addEventListener("keydown", event => {
    if (event.key in keys) { event.preventDefault(); move(...keys[event.key]); }
    if (event.key === "+" || event.key === "=") closer(1.15);
    if (event.key === "-") closer(1 / 1.15);
  });
  document.querySelectorAll("input[data-organ]").forEach(box => box.addEventListener("change", () => {
    solids.find(solid => solid.organ === box.dataset.organ).shown = box.checked;
    redraw();
  }));
  new ResizeObserver(redraw).observe(canvas);
  still.hidden = true;
  canvas.hidden = false;
  canvas.dataset.ready = "yes";
  draw();
})();
