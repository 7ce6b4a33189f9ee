// Copies a step's command without its prompt. One listener for the page; without JavaScript the button is hidden.
(function () {
  "use strict";
  document.documentElement.classList.add("lab-js");

  function fallback(text) {
    var area = document.createElement("textarea");
    area.value = text;
    area.setAttribute("readonly", "");
    area.style.position = "fixed";
    area.style.opacity = "0";
    document.body.appendChild(area);
    area.select();
    var done = document.execCommand("copy");
    area.remove();
    return done ? Promise.resolve() : Promise.reject(new Error("not copied"));
  }

  function copy(text) {
    // a page opened as a file has no clipboard of its own
    if (navigator.clipboard && window.isSecureContext) {
      return navigator.clipboard.writeText(text).catch(function () { return fallback(text); });
    }
    return fallback(text);
  }

  document.addEventListener("click", function (event) {
    var button = event.target.closest && event.target.closest(".lab-copy");
    if (!button) {
      return;
    }
    copy(button.getAttribute("data-copy")).then(
      function () { button.textContent = "copied"; },
      function () { button.textContent = "press Ctrl-C"; }
    ).then(function () {
      window.setTimeout(function () { button.textContent = "copy"; }, 1500);
    });
  });
})();
