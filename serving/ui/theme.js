/** Colour theme: the system's, or the one chosen here. A classic script, so that it runs before the first paint. */
(() => {
  const STORAGE_KEY = "mint-theme";
  const root = document.documentElement;
  const systemDark = matchMedia("(prefers-color-scheme: dark)");

  function withStorage(access) {
    try {
      return access(localStorage);
    } catch {
      return null; // no storage in this browser: the choice lasts until the page is closed
    }
  }

  root.dataset.theme = withStorage((storage) => storage.getItem(STORAGE_KEY)) ?? "";
  document.addEventListener("click", (event) => {
    if (!event.target.closest("#theme")) return;
    const systemTheme = systemDark.matches ? "dark" : "light";
    const next = (root.dataset.theme || systemTheme) === "dark" ? "light" : "dark";
    root.dataset.theme = next === systemTheme ? "" : next;
    if (next === systemTheme) withStorage((storage) => storage.removeItem(STORAGE_KEY));
    else withStorage((storage) => storage.setItem(STORAGE_KEY, next));
  });
})();
