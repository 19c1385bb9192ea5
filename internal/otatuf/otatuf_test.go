package otatuf_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"sealift/internal/otatuf"
)

// The published test vector of the key server's encryption.
const (
	salt     = "QyHon03eqkw="
	password = "kxHUuCWMLjUcEvsgaf3EfArToM79psmKsAJRMesApwEK9bdVdFNMpfcL7tKJkups"
	secret   = "VAgavSwxIBvct+x7TAN7IqMYrEk0v2zNs+9v"
)

func TestThePublishedVectorOpens(t *testing.T) {
	c, err := otatuf.NewCipher(salt, password)
	if err != nil {
		t.Fatal(err)
	}
	if plain, err := c.Open(secret); err != nil || string(plain) != "hello world" {
		t.Fatalf("%q, %v", plain, err)
	}
	for what, stored := range map[string]string{"changed": "WAgavSwxIBvct+x7TAN7IqMYrEk0v2zNs+9v", "cut": "VAgavSwx", "no base64": "?", "huge": strings.Repeat("A", 1<<20)} {
		if _, err := c.Open(stored); !errors.Is(err, otatuf.ErrEncryption) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if c, err = otatuf.NewCipher(salt, strings.Repeat("x", 64)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Open(secret); !errors.Is(err, otatuf.ErrEncryption) {
		t.Errorf("another password: %v", err)
	}
	for what, pair := range map[string][2]string{"short salt": {"QyE=", password}, "salt": {"?", password}, "password": {salt, "short"}, "huge": {salt, strings.Repeat("x", 1<<20)}} {
		if _, err := otatuf.NewCipher(pair[0], pair[1]); !errors.Is(err, otatuf.ErrEncryption) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

const (
	keyID  = "5959a6869e4e03bd27ea933651ab7756ebeaa178aee92f4103b9baa9c2da3901"
	public = "e8b819c020ce57f72521452d341875bb6eb311ecca3cbb711efb63f38e68cde1"
)

// table is what mysqldump writes around rows.
func table(rows string) string {
	return "-- MariaDB dump 10.19\n--\n/*!40101 SET NAMES utf8mb4 */;\nDROP TABLE IF EXISTS `keys`;\n" +
		"CREATE TABLE `keys` (\n  `key_id` varchar(254) NOT NULL,\n  `repo_id` char(36) NOT NULL,\n" +
		"  `role_type` enum('ROOT','SNAPSHOT','TARGETS','TIMESTAMP') NOT NULL,\n  `key_type` enum('RSA','ED25519') NOT NULL,\n" +
		"  `public_key` text NOT NULL,\n  `created_at` datetime(3) NOT NULL DEFAULT current_timestamp(3),\n" +
		"  `private_key` text DEFAULT NULL,\n  PRIMARY KEY (`key_id`),\n  KEY `idx` (`repo_id`,`role_type`)\n) ENGINE=InnoDB;\n" +
		"LOCK TABLES `keys` WRITE;\n/*!40000 ALTER TABLE `keys` DISABLE KEYS */;\n" +
		"INSERT INTO `other` VALUES (1,'a;b\\'c');\nINSERT INTO `keys` VALUES " + rows + ";\nUNLOCK TABLES;\n-- Dump completed"
}

func rowOf(id, public, private string) string {
	return fmt.Sprintf("('%s','r','ROOT','ED25519','{\\\"keyval\\\":{\\\"public\\\":\\\"%s\\\"},\\\"keytype\\\":\\\"ED25519\\\"}','2026-01-01 00:00:00.000',%s)", id, public, private)
}

func TestADumpOfKeysIsRead(t *testing.T) {
	for what, text := range map[string]string{
		"by the order of columns": table(rowOf(keyID, public, "'abc='")),
		"by names":                "INSERT INTO `keys` (`private_key`, `key_id`, `key_type`, `public_key`) VALUES ('abc=','" + keyID + "','ED25519','" + public + "');\n-- Dump completed on 2026-11-22 10:00:00\n",
	} {
		list, err := otatuf.ReadKeys(strings.NewReader(text))
		if err != nil || len(list) != 1 || string(list[0].ID) != keyID || list[0].Private != "abc=" {
			t.Errorf("%s: %+v, %v", what, list, err)
		}
	}
	list, err := otatuf.ReadKeys(strings.NewReader(table(rowOf(keyID, public, "NULL"))))
	if err != nil || list[0].Private != "" {
		t.Errorf("taken offline: %+v, %v", list, err)
	}
}

func TestWhatIsNoDumpIsRefused(t *testing.T) {
	row := rowOf(keyID, public, "NULL")
	for what, text := range map[string]string{
		"nothing":          "",
		"no rows":          strings.ReplaceAll(table(row), "INTO `keys`", "INTO `keyz`"),
		"another key's id": table(rowOf(strings.Repeat("0", 64), public, "NULL")),
		"no id":            table(rowOf("x", public, "NULL")),
		"no key":           table(rowOf(keyID, "zz", "NULL")),
		"twice":            table(row + "," + row),
		"cut off":          table(row)[:len(table(row))-60],
		"cut after a row":  table(row)[:strings.Index(table(row), "UNLOCK")],
		"more than whole":  table(row) + "\nUNLOCK TABLES;",
		"columns unknown":  "INSERT INTO `keys` VALUES " + row + ";",
		"too few values":   table("('a','b')"),
		"a function":       table("(sleep(1))"),
		"no end of text":   "INSERT INTO `keys` (`key_id`) VALUES ('",
		"no end of words":  "/* ",
		"a huge value":     "INSERT INTO `keys` (`key_id`) VALUES ('" + strings.Repeat("x", 1<<20) + "');",
		"select":           "INSERT INTO `keys` SELECT * FROM x;",
	} {
		if list, err := otatuf.ReadKeys(strings.NewReader(text)); !errors.Is(err, otatuf.ErrDump) {
			t.Errorf("%s: %+v, %v", what, list, err)
		}
	}
}

const fleet = "INSERT INTO `ecus` (`namespace`,`device_id`,`ecu_serial`,`public_key`,`hardware_identifier`,`deleted`) VALUES " +
	"('default','car-1','p','{}','board',0),('default','car-1','s','{}','radio',0),('default','car-1','old','{}','radio',1),('default','car-2','q','{}','board',0);\n" +
	"INSERT INTO `provisioned_devices` (`namespace`,`id`,`primary_ecu_id`,`deleted`) VALUES ('default','car-1','p',0),('default','car-2','q',1);\n-- Dump completed"

func TestADumpOfTheFleetIsRead(t *testing.T) {
	list, err := otatuf.ReadDevices(strings.NewReader(fleet))
	if err != nil || len(list) != 1 || list[0].Primary != "p" || len(list[0].ECUs) != 2 || list[0].ECUs[1].HardwareID != "radio" {
		t.Errorf("%+v, %v", list, err)
	}
	if list, err := otatuf.ReadDevices(strings.NewReader(fleet[:strings.Index(fleet, "\n")] + "\n-- Dump completed")); !errors.Is(err, otatuf.ErrDump) {
		t.Errorf("without Primaries: %+v, %v", list, err)
	}
}

func FuzzDump(f *testing.F) {
	for _, seed := range []string{table(rowOf(keyID, public, "'abc='")), fleet, "/*", "'", "INSERT INTO keys(a)VALUES(1),", "CREATE TABLE `keys`(`a` int, KEY (`a`))", "-- x"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if _, err := otatuf.ReadKeys(strings.NewReader(text)); err != nil && !errors.Is(err, otatuf.ErrDump) {
			t.Errorf("keys: %v", err)
		}
		if _, err := otatuf.ReadDevices(strings.NewReader(text)); err != nil && !errors.Is(err, otatuf.ErrDump) {
			t.Errorf("devices: %v", err)
		}
	})
}
