"""What servers make of bytes, as they answered: written by tests/replication/binlog/charset_tables.py."""

from __future__ import annotations

from typing import Final

#: Numbers of collations, by charset; MariaDB's and MySQL's do not contradict one another.
COLLATIONS: Final = {
    "armscii8": "32 64 1056 1088",
    "ascii": "11 65 1035 1089",
    "big5": "1 84 1025 1108",
    "binary": "63",
    "cp1250": "26 34 44 66 99 1050 1090",
    "cp1251": "14 23 50-52 1074-1075",
    "cp1256": "57 67 1081 1091",
    "cp1257": "29 58-59 1082-1083",
    "cp850": "4 80 1028 1104",
    "cp852": "40 81 1064 1105",
    "cp866": "36 68 1060 1092",
    "cp932": "95-96 1119-1120",
    "dec8": "3 69 1027 1093",
    "eucjpms": "97-98 1121-1122",
    "euckr": "19 85 1043 1109",
    "gb18030": "248-250",
    "gb2312": "24 86 1048 1110",
    "gbk": "28 87 1052 1111",
    "geostd8": "92-93 1116-1117",
    "greek": "25 70 1049 1094",
    "hebrew": "16 71 1040 1095",
    "hp8": "6 72 1030 1096",
    "keybcs2": "37 73 1061 1097",
    "koi8r": "7 74 1031 1098",
    "koi8u": "22 75 1046 1099",
    "latin1": "5 8 15 31 47-49 94 1032 1071",
    "latin2": "2 9 21 27 77 1033 1101",
    "latin5": "30 78 1054 1102",
    "latin7": "20 41-42 79 1065 1103",
    "macce": "38 43 1062 1067",
    "macroman": "39 53 1063 1077",
    "sjis": "13 88 1037 1112",
    "swe7": "10 82 1034 1106",
    "tis620": "18 89 1042 1113",
    "ucs2": "35 90 128-151 159 640-642 1059 1114 1152 1174 2560-2727 2744-2759",
    "ujis": "12 91 1036 1115",
    "utf16": "54-55 101-124 672-674 1078-1079 1125 1147 2816-2983 3000-3015",
    "utf16le": "56 62 1080 1086",
    "utf32": "60-61 160-183 736-738 1084-1085 1184 1206 3072-3239 3256-3271",
    "utf8mb3": "33 76 83 192-215 223 576-578 1057 1107 1216 1238 2048-2215 2232-2247",
    "utf8mb4": "45-46 224-247 255-271 273-275 277-294 296-298 300 303-323 608-610 1069-1070 1248 1270 2304-2471 "
    "2488-2503",
}
#: Codecs of Python that are nearest to the charsets.
CODECS: Final = {
    "armscii8": "latin1",
    "ascii": "ascii",
    "big5": "big5",
    "cp1250": "cp1250",
    "cp1251": "cp1251",
    "cp1256": "cp1256",
    "cp1257": "cp1257",
    "cp850": "cp850",
    "cp852": "cp852",
    "cp866": "cp866",
    "cp932": "cp932",
    "dec8": "latin1",
    "eucjpms": "euc_jp",
    "euckr": "cp949",
    "gb18030": "gb18030",
    "gb2312": "gb2312",
    "gbk": "gbk",
    "geostd8": "latin1",
    "greek": "iso8859_7",
    "hebrew": "iso8859_8",
    "hp8": "hp_roman8",
    "keybcs2": "cp437",
    "koi8r": "koi8_r",
    "koi8u": "koi8_u",
    "latin1": "cp1252",
    "latin2": "iso8859_2",
    "latin5": "iso8859_9",
    "latin7": "iso8859_13",
    "macce": "mac_latin2",
    "macroman": "mac_roman",
    "sjis": "shift_jis",
    "swe7": "ascii",
    "tis620": "tis_620",
    "ujis": "euc_jp",
}
#: What those read otherwise: bytes, first and last of a run, and the character of the first, in hexadecimal.
OTHERWISE: Final = {
    "armscii8": "a1=2741 a2=a7 a3=589 a4=29 a5=28 a6=bb a7=ab a8=2014 a9=2e aa=55d ab-ac=2c ad=55f ae=2026 af=55c "
    "b0=55b b1=55e b2=531 b3=561 b4=532 b5=562 b6=533 b7=563 b8=534 b9=564 ba=535 bb=565 bc=536 bd=566 "
    "be=537 bf=567 c0=538 c1=568 c2=539 c3=569 c4=53a c5=56a c6=53b c7=56b c8=53c c9=56c ca=53d cb=56d "
    "cc=53e cd=56e ce=53f cf=56f d0=540 d1=570 d2=541 d3=571 d4=542 d5=572 d6=543 d7=573 d8=544 d9=574 "
    "da=545 db=575 dc=546 dd=576 de=547 df=577 e0=548 e1=578 e2=549 e3=579 e4=54a e5=57a e6=54b e7=57b "
    "e8=54c e9=57c ea=54d eb=57d ec=54e ed=57e ee=54f ef=57f f0=550 f1=580 f2=551 f3=581 f4=552 f5=582 "
    "f6=553 f7=583 f8=554 f9=584 fa=555 fb=585 fc=556 fd=586 fe=2019 ff=27",
    "big5": "a15a=fffd a1c3=fffd a1c5=fffd a1fe=fffd a240=fffd a2cc=fffd a2ce=fffd f9d6=7881 f9d7=92b9 f9d8=88cf "
    "f9d9=58bb f9da=6052 f9db=7ca7 f9dc=5afa",
    "cp1256": "8a=3f 8f=3f 98=3f 9a=3f 9f=3f aa=3f c0=3f ff=3f",
    "cp866": "fc=207f fd=b2",
    "dec8": "a4=3f a6=3f a8=a4 ac=3f ad=3f ae=3f af=3f b4=3f b8=3f be=3f d0=3f d7=152 dd=178 de=3f f0=3f f7=153 "
    "fd=ff fe=3f ff=3f",
    "eucjpms": "8fa2b7=ff5e 8fa2c3=ffe4 8ff3f3-8ff3fc=2170 8ff3fd-8ff3fe=2160 8ff4a1-8ff4a8=2162 8ff4a9=ff07 "
    "8ff4aa=ff02 8ff4ab=3231 8ff4ac=2116 8ff4ad=2121 8ff4ae=70bb 8ff4af=4efc 8ff4b0=50f4 8ff4b1=51ec "
    "8ff4b2=5307 8ff4b3=5324 8ff4b4=fa0e 8ff4b5=548a 8ff4b6=5759 8ff4b7-8ff4b8=fa0f 8ff4b9=589e "
    "8ff4ba=5bec 8ff4bb=5cf5 8ff4bc=5d53 8ff4bd=fa11 8ff4be=5fb7 8ff4bf=6085 8ff4c0=6120 8ff4c1=654e "
    "8ff4c2=663b 8ff4c3=6665 8ff4c4=fa12 8ff4c5=f929 8ff4c6=6801 8ff4c7-8ff4c8=fa13 8ff4c9=6a6b "
    "8ff4ca=6ae2 8ff4cb=6df8 8ff4cc=6df2 8ff4cd=7028 8ff4ce-8ff4cf=fa15 8ff4d0=7501 8ff4d1=7682 "
    "8ff4d2=769e 8ff4d3=fa17 8ff4d4=7930 8ff4d5-8ff4d8=fa18 8ff4d9=7ae7 8ff4da-8ff4db=fa1c 8ff4dc=7da0 "
    "8ff4dd=7dd6 8ff4de=fa1e 8ff4df=8362 8ff4e0=fa1f 8ff4e1=85b0 8ff4e2-8ff4e3=fa20 8ff4e4=8807 "
    "8ff4e5=fa22 8ff4e6=8b7f 8ff4e7=8cf4 8ff4e8=8d76 8ff4e9-8ff4eb=fa23 8ff4ec=90de 8ff4ed=fa26 "
    "8ff4ee=9115 8ff4ef-8ff4f0=fa27 8ff4f1=9592 8ff4f2=f9dc 8ff4f3=fa29 8ff4f4=973b 8ff4f5=974d "
    "8ff4f6=9751 8ff4f7-8ff4f9=fa2a 8ff4fa=999e 8ff4fb=9ad9 8ff4fc=9b72 8ff4fd=fa2d 8ff4fe=9ed1 "
    "8ff5a1-8ff5fe=e3ac 8ff6a1-8ff6fe=e40a 8ff7a1-8ff7fe=e468 8ff8a1-8ff8fe=e4c6 8ff9a1-8ff9fe=e524 "
    "8ffaa1-8ffafe=e582 8ffba1-8ffbfe=e5e0 8ffca1-8ffcfe=e63e 8ffda1-8ffdfe=e69c 8ffea1-8ffefe=e6fa "
    "a1c1=ff5e a1c2=2225 a1dd=ff0d a1f1-a1f2=ffe0 a2cc=ffe2 ada1-adb4=2460 adb5-adbe=2160 adc0=3349 "
    "adc1=3314 adc2=3322 adc3=334d adc4=3318 adc5=3327 adc6=3303 adc7=3336 adc8=3351 adc9=3357 adca=330d "
    "adcb=3326 adcc=3323 adcd=332b adce=334a adcf=333b add0-add2=339c add3-add4=338e add5=33c4 add6=33a1 "
    "addf=337b ade0=301d ade1=301f ade2=2116 ade3=33cd ade4=2121 ade5-ade9=32a4 adea-adeb=3231 adec=3239 "
    "aded=337e adee=337d adef=337c adf0=2252 adf1=2261 adf2=222b adf3=222e adf4=2211 adf5=221a adf6=22a5 "
    "adf7=2220 adf8=221f adf9=22bf adfa=2235 adfb-adfc=2229 f5a1-f5fe=e000 f6a1-f6fe=e05e f7a1-f7fe=e0bc "
    "f8a1-f8fe=e11a f9a1-f9fe=e178 faa1-fafe=e1d6 fba1-fbfe=e234 fca1-fcfe=e292 fda1-fdfe=e2f0 "
    "fea1-fefe=e34e",
    "gb18030": "a8bc=1e3f",
    "geostd8": "80=20ac 81=3f 82=201a 83=3f 84=201e 85=2026 86-87=2020 88=3f 89=2030 8a=3f 8b=2039 8c=3f 8d=3f 8e=3f "
    "8f=3f 90=3f 91-92=2018 93-94=201c 95=2022 96-97=2013 98=3f 99=3f 9a=3f 9b=203a 9c=3f 9d=3f 9e=3f "
    "9f=3f c0-c6=10d0 c7=10f1 c8-cd=10d7 ce=10f2 cf-d4=10dd d5=10f3 d6-e1=10e3 e2=10f4 e3-e4=10ef e5=10f5 "
    "e6=3f e7=3f e8=3f e9=3f ea=3f eb=3f ec=3f ed=3f ee=3f ef=3f f0=3f f1=3f f2=3f f3=3f f4=3f f5=3f "
    "f6=3f f7=3f f8=3f f9=3f fa=3f fb=3f fc=3f fd=2116 fe=3f ff=3f",
    "greek": "a1=2bd a2=2bc a4=3f a5=3f aa=3f",
    "hebrew": "af=203e",
    "keybcs2": "80=10c 83=10f 85=10e 86=164 87=10d 88=11b 89=11a 8a=139 8b=cd 8c=13e 8d=13a 8f=c1 91=17e 92=17d "
    "95=d3 96=16f 97=da 98=fd 9b=160 9c=13d 9d=dd 9e=158 9f=165 a4=148 a5=147 a6=16e a7=d4 a8=161 a9=159 "
    "aa=155 ab=154",
    "koi8u": "95=2022",
    "latin1": "81=81 8d=8d 8f-90=8f 9d=9d",
    "sjis": "815f=5c",
    "swe7": "40=c9 5b=c4 5c=d6 5d=c5 5e=dc 60=e9 7b=e4 7c=f6 7d=e5 7e=fc 7f=3f",
    "tis620": "a0=fffd db=fffd dc=fffd dd=fffd de=fffd fc=fffd fd=fffd fe=fffd ff=fffd",
    "ujis": "8ff5a1-8ff5fe=e3ac 8ff6a1-8ff6fe=e40a 8ff7a1-8ff7fe=e468 8ff8a1-8ff8fe=e4c6 8ff9a1-8ff9fe=e524 "
    "8ffaa1-8ffafe=e582 8ffba1-8ffbfe=e5e0 8ffca1-8ffcfe=e63e 8ffda1-8ffdfe=e69c 8ffea1-8ffefe=e6fa "
    "a1c0=5c f5a1-f5fe=e000 f6a1-f6fe=e05e f7a1-f7fe=e0bc f8a1-f8fe=e11a f9a1-f9fe=e178 faa1-fafe=e1d6 "
    "fba1-fbfe=e234 fca1-fcfe=e292 fda1-fdfe=e2f0 fea1-fefe=e34e",
}
