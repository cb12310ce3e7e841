// What scrolls sideways can be reached by keyboard.
"use strict";
(() => {
  const boxes = "figure, .text_html, .pst-scrollable-table-container, div.math, mjx-container[display]";
  function mark() {
    document.querySelectorAll(boxes).forEach((box) => {
      if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
      else box.removeAttribute("tabindex");
    });
  }
  addEventListener("resize", mark);
  addEventListener("load", async () => {
    await window.MathJax?.startup?.promise;
    mark();
  });
})();
