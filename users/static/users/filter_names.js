"use strict";
/* Django's boxes for choosing many name their filters by an icon that a screen reader takes for mere text. It makes them
   when the page has loaded, which is before this event. */
window.addEventListener("pageshow", () => {
    for (const icon of document.querySelectorAll(".selector .search-label-icon")) {
        icon.setAttribute("role", "img");
    }
});
