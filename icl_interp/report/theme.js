(() => {
  // Before the first paint: ?theme=dark and the reader's last choice win over the system's.
  let theme = new URLSearchParams(location.search).get("theme");
  try { theme = theme || localStorage.getItem("report-theme"); } catch { /* storage may be forbidden */ }
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
})();
