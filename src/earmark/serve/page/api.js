// Calls of the HTTP interface. Every error is one line for the user.

const KEY = "earmark-token";
let token = new URLSearchParams(location.hash.slice(1)).get("token") ?? sessionStorage.getItem(KEY);
if (location.hash.includes("token=")) {
  sessionStorage.setItem(KEY, token);
  history.replaceState(null, "", location.pathname);
}

export const currentToken = () => token;

export class ApiError extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

let asking = null;

function askForToken() {
  asking ??= new Promise((resolve) => {
    const dialog = document.getElementById("ask");
    dialog.showModal();
    dialog.addEventListener("close", () => {
      token = document.getElementById("token").value;
      sessionStorage.setItem(KEY, token);
      asking = null;
      resolve();
    }, { once: true });
  });
  return asking;
}

const headers = () => (token ? { Authorization: `Bearer ${token}` } : {});

function address(path, parameters) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters ?? {})) {
    for (const each of Array.isArray(value) ? value : [value]) query.append(name, each);
  }
  const text = query.toString();
  return text ? `${path}?${text}` : path;
}

export async function call(method, path, parameters, options = {}) {
  for (;;) {
    let answer;
    try {
      answer = await fetch(address(path, parameters), { ...options, method, headers: { ...headers(), ...options.headers } });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new ApiError("The server does not answer; is earmark serve still running?", 0);
    }
    if (answer.ok) return answer;
    if (answer.status === 401) {
      await askForToken();
      continue;
    }
    const text = await answer.text();
    let message = `${answer.status} ${answer.statusText}`;
    try {
      message = JSON.parse(text).error;
    } catch { /* a proxy answers in its own words */ }
    throw new ApiError(message, answer.status);
  }
}

export const json = async (method, path, parameters, options) => (await call(method, path, parameters, options)).json();

/** Sends a file; `progress` gets the share that is sent. */
export function upload(file, name, progress) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", address("/api/recordings", { name }));
    if (token) request.setRequestHeader("Authorization", `Bearer ${token}`);
    request.setRequestHeader("Content-Type", "application/octet-stream");
    request.responseType = "json";
    request.upload.onprogress = (event) => progress(event.loaded / Math.max(1, event.total));
    request.onerror = () => reject(new ApiError("The upload was interrupted; try again.", 0));
    request.onload = () => {
      if (request.status === 201) resolve(request.response);
      else if (request.status === 401) askForToken().then(() => upload(file, name, progress)).then(resolve, reject);
      else reject(new ApiError(request.response?.error ?? `${request.status} ${request.statusText}`, request.status));
    };
    request.send(file);
  });
}
