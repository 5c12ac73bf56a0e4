// Categories found by what somebody types: Chinese, pinyin, its initials, or English.
(() => {
  /** Whether letters are the beginnings of syllables that follow one another: "bllj", "baolu". */
  function sounds(letters, syllables) {
    if (!letters) return true;
    if (!syllables.length) return false;
    return syllables[0].some((reading) => {
      for (let n = 1; n <= reading.length && reading.slice(0, n) === letters.slice(0, n); n += 1) {
        if (n <= letters.length && sounds(letters.slice(n), syllables.slice(1))) return true;
        if (n >= letters.length) return true;
      }
      return false;
    });
  }

  /** Those of the categories ({zh, en, sounds: readings of each character}) that are meant, the
      likeliest first; all of them while nothing is typed. */
  window.wangge.matching = (categories, text) => {
    const wanted = text.trim().toLowerCase();
    if (!wanted) return categories;
    const letters = wanted.replace(/[\s']/g, "");
    const rank = (category) => {
      if (category.zh.includes(wanted)) return 0;
      const spoken = category.sounds.filter(([reading]) => /^[a-z]/.test(reading));
      const at = spoken.findIndex((_, start) => sounds(letters, spoken.slice(start)));
      if (at >= 0) return 1 + at;
      return category.en.toLowerCase().includes(wanted) ? 50 : 99;
    };
    return categories.map((category) => [rank(category), category]).filter(([score]) => score < 99)
      .sort((a, b) => a[0] - b[0]).map(([, category]) => category);
  };
})();
