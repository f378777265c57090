"""Short texts in many scripts and forms, to measure estimates on."""

PROSE = {
    "english": (
        "All human beings are born free and equal in dignity and rights. They are endowed with reason and conscience "
        "and should act towards one another in a spirit of brotherhood."
    ),
    "chat": "hey can u help me w/ this?? i keep getting an error when i install it lol. it says 'permission denied'",
    "chinese": (
        "人人生而自由，在尊严和权利上一律平等。他们赋有理性和良心，并应以兄弟关系的精神相对待。"
        "请帮我写一封邮件给客户，说明交货日期会推迟两周，语气要礼貌但坚定。"
    ),
    "japanese": "すべての人間は、生れながらにして自由であり、かつ、尊厳と権利とについて平等である。",
    "korean": "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다. 형제애의 정신으로 행동한다.",
    "german": "Alle Menschen sind frei und gleich an Würde und Rechten geboren.",
    "arabic": "يولد جميع الناس أحرارًا متساوين في الكرامة والحقوق. وقد وهبوا عقلاً وضميرًا.",
    "code": (
        "def fold(rows: list[Row]) -> int:\n    total = 0\n    for row in rows:\n        total += row.amount\n"
        "    return total\n"
    ),
    "mixed": "请把下面的 Python 代码改成 async 版本，并解释 why: def fetch(url): return get(url).json()。",
}
DENSE = {
    "json": '{"id": 1234567, "name": "widget", "price": 12.99, "nested": {"deep": [1, 2, 3, 4.5, null, true]}}',
    "csv": "2026-11-20,137.42,ACC-004711,abc\n2026-11-21,99.01,ACC-008822,def\n",
    "hex": "9e3779b97f4a7c15f39cc0605cedc8341082276bf3a27251",
    "emoji": "😀🎉🚀❤️👍🏽 great 🔥🔥🔥 ok ✅❌",
}
