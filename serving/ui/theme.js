/** Light or dark: the system's choice, or the one made here. Not a module, so that it runs before the first paint. */
(() => {
  const KEY = "mint-theme";
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");

  function stored(change) {
    try {
      return change(localStorage);
    } catch {
      return null; // the browser keeps nothing here; the choice then lasts as long as the page
    }
  }

  root.dataset.theme = stored((storage) => storage.getItem(KEY)) ?? "";
  document.addEventListener("click", (event) => {
    if (!event.target.closest("#theme")) return;
    const usual = system.matches ? "dark" : "light";
    const other = (root.dataset.theme || usual) === "dark" ? "light" : "dark";
    root.dataset.theme = other === usual ? "" : other;
    stored((storage) => (other === usual ? storage.removeItem(KEY) : storage.setItem(KEY, other)));
  });
})();
