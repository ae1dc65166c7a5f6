BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0002');
CREATE TABLE desired (
	id INTEGER NOT NULL, 
	mode VARCHAR NOT NULL, 
	since FLOAT NOT NULL, 
	record VARCHAR NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "desired" VALUES(1,'code',1002.0,'{"mode":"code","added":[{"id":"chat","preset":"gemma","engine":"llama.cpp","model":"/models/ä.gguf","served_name":null,"mmproj":null,"task":"chat","context":131072,"slots":null,"kv_cache":{"k":"q8_0","v":"q8_0"},"draft":{"type":"mtp","model":null,"n_max":2},"vram":{"sizes":[21495808000],"force":true},"ram":null,"memory_max":null,"cards":{"count":2,"exact":["GPU-1","GPU-2"]},"split":{"mode":"layer","ratio":[1.0,2.5]},"sampler":[["temperature",1.0],["top_p",0.95]],"aliases":["hermes"],"port":null,"startup_timeout":600.0,"drain":{"deadline":30.0,"then":"cut"},"stop_grace":20.0,"leave":"stop","restart":{"when":"failure","within":600.0,"at_most":3},"depends_on":[],"args":["--jinja"],"env":[["A","1"],["B",""]],"binary":null,"llama":{"gpu_layers":null,"cpu_moe_layers":null,"batch":null,"ubatch":null,"threads":null,"flash_attention":null,"prompt_cache":null},"vllm":{"gpu_memory_utilization":null,"kv_cache_dtype":null,"kv_cache_memory":null,"max_num_batched_tokens":null,"mamba_cache_mode":null,"quantization":null,"dtype":null,"enforce_eager":false},"container":{"image":"image","port":8000,"mounts":[{"source":"/a","target":"/b","read_only":true}],"command":[],"runtime":null},"command":{"cmd":["serve","--port","${PORT}"],"ready":"/v1/models","in_flight":null,"stop_cmd":[]}}],"removed":["embed"],"since":1002.0}');
CREATE TABLE events (
	seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	at FLOAT NOT NULL, 
	kind VARCHAR NOT NULL, 
	subject VARCHAR NOT NULL, 
	record VARCHAR NOT NULL
);
INSERT INTO "events" VALUES(1,1.5,'service','chat','{"seq":0,"at":1.5,"kind":"service","subject":"chat","message":"ready","data":{"n":1}}');
CREATE TABLE generations (
	service VARCHAR NOT NULL, 
	last INTEGER NOT NULL, 
	PRIMARY KEY (service)
);
INSERT INTO "generations" VALUES('chat',1);
CREATE TABLE idempotency (
	"key" VARCHAR NOT NULL, 
	fingerprint VARCHAR NOT NULL, 
	answer VARCHAR NOT NULL, 
	at FLOAT NOT NULL, 
	PRIMARY KEY ("key")
);
INSERT INTO "idempotency" VALUES('k','f','{}',1000000.0);
CREATE TABLE job_waits (
	job VARCHAR NOT NULL, 
	waits_for VARCHAR NOT NULL, 
	PRIMARY KEY (job, waits_for), 
	FOREIGN KEY(job) REFERENCES jobs (id) ON DELETE CASCADE
);
INSERT INTO "job_waits" VALUES('j2','j1');
CREATE TABLE jobs (
	number INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	id VARCHAR NOT NULL, 
	state VARCHAR NOT NULL, 
	priority INTEGER NOT NULL, 
	dedupe VARCHAR NOT NULL, 
	not_before FLOAT, 
	window VARCHAR, 
	attempt INTEGER NOT NULL, 
	owner VARCHAR NOT NULL, 
	heartbeat FLOAT, 
	phase VARCHAR, 
	started FLOAT, 
	ended FLOAT, 
	cancel_asked BOOLEAN NOT NULL, 
	reason VARCHAR NOT NULL, 
	progress VARCHAR NOT NULL, 
	held VARCHAR NOT NULL, 
	record VARCHAR NOT NULL, 
	UNIQUE (id)
);
INSERT INTO "jobs" VALUES(1,'full','queued',3,'nightly',10.0,'{"start":1320,"end":360,"timezone":"Europe/Berlin"}',0,'',NULL,NULL,NULL,NULL,0,'','{"done":0,"total":null,"target":"","case":"","seconds":0.0}','{"former":null,"restore":false,"lease":null}','{"id":"full","request":{"suite":"speed","targets":["code","chät"],"parameters":{"n":15,"deep":{"a":[1,null]}},"priority":3,"after":[],"not_before":10.0,"window":{"start":1320,"end":360,"timezone":"Europe/Berlin"},"dedupe":"nightly","label":"a läbel","by":"agent"},"state":"queued","created":1000.0,"attempt":0,"owner":"","heartbeat":null,"phase":null,"started":null,"ended":null,"progress":{"done":0,"total":null,"target":"","case":"","seconds":0.0},"former":null,"restore":false,"lease":null,"cancel_asked":false,"reason":"","schedule":"s1"}');
INSERT INTO "jobs" VALUES(2,'j1','running',0,'',NULL,NULL,1,'d1',6.0,'measuring',5.0,NULL,0,'','{"done":3,"total":15,"target":"code","case":"c3","seconds":12.5}','{"former":{"mode":"code","added":[{"id":"chat","preset":"gemma","engine":"llama.cpp","model":"/models/ä.gguf","served_name":null,"mmproj":null,"task":"chat","context":131072,"slots":null,"kv_cache":{"k":"q8_0","v":"q8_0"},"draft":{"type":"mtp","model":null,"n_max":2},"vram":{"sizes":[21495808000],"force":true},"ram":null,"memory_max":null,"cards":{"count":2,"exact":["GPU-1","GPU-2"]},"split":{"mode":"layer","ratio":[1.0,2.5]},"sampler":[["temperature",1.0],["top_p",0.95]],"aliases":["hermes"],"port":null,"startup_timeout":600.0,"drain":{"deadline":30.0,"then":"cut"},"stop_grace":20.0,"leave":"stop","restart":{"when":"failure","within":600.0,"at_most":3},"depends_on":[],"args":["--jinja"],"env":[["A","1"],["B",""]],"binary":null,"llama":{"gpu_layers":null,"cpu_moe_layers":null,"batch":null,"ubatch":null,"threads":null,"flash_attention":null,"prompt_cache":null},"vllm":{"gpu_memory_utilization":null,"kv_cache_dtype":null,"kv_cache_memory":null,"max_num_batched_tokens":null,"mamba_cache_mode":null,"quantization":null,"dtype":null,"enforce_eager":false},"container":{"image":"image","port":8000,"mounts":[{"source":"/a","target":"/b","read_only":true}],"command":[],"runtime":null},"command":{"cmd":["serve","--port","${PORT}"],"ready":"/v1/models","in_flight":null,"stop_cmd":[]}}],"removed":["embed"],"since":1002.0},"restore":true,"lease":"l1"}','{"id":"j1","request":{"suite":"speed","targets":["code","chät"],"parameters":{"n":15,"deep":{"a":[1,null]}},"priority":0,"after":[],"not_before":null,"window":null,"dedupe":"","label":"","by":""},"state":"queued","created":2000.0,"attempt":0,"owner":"","heartbeat":null,"phase":null,"started":null,"ended":null,"progress":{"done":0,"total":null,"target":"","case":"","seconds":0.0},"former":null,"restore":false,"lease":null,"cancel_asked":false,"reason":"","schedule":null}');
INSERT INTO "jobs" VALUES(3,'j2','queued',0,'',NULL,NULL,0,'',NULL,NULL,NULL,NULL,0,'','{"done":0,"total":null,"target":"","case":"","seconds":0.0}','{"former":null,"restore":false,"lease":null}','{"id":"j2","request":{"suite":"speed","targets":["code","chät"],"parameters":{"n":15,"deep":{"a":[1,null]}},"priority":0,"after":["j1"],"not_before":null,"window":null,"dedupe":"","label":"","by":""},"state":"queued","created":3000.0,"attempt":0,"owner":"","heartbeat":null,"phase":null,"started":null,"ended":null,"progress":{"done":0,"total":null,"target":"","case":"","seconds":0.0},"former":null,"restore":false,"lease":null,"cancel_asked":false,"reason":"","schedule":null}');
CREATE TABLE leases (
	id VARCHAR NOT NULL, 
	until FLOAT NOT NULL, 
	record VARCHAR NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "leases" VALUES('l1',5000.0,'{"id":"l1","holder":"agent","services":["chat","embed"],"until":5000.0,"created":1000.0,"purpose":"a run"}');
CREATE TABLE measurements (
	id INTEGER NOT NULL, 
	fingerprint VARCHAR NOT NULL, 
	card_name VARCHAR NOT NULL, 
	count INTEGER NOT NULL, 
	stage VARCHAR NOT NULL, 
	record VARCHAR NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "measurements" VALUES(1,'f1','RTX 4090',2,'ready','{"fingerprint":"f1","service":"chat","card_name":"RTX 4090","count":2,"stage":"ready","used":[1,2],"host":7,"at":1.0,"family":"","spec":null,"split":[],"driver":""}');
CREATE TABLE meta (
	"key" VARCHAR NOT NULL, 
	value VARCHAR NOT NULL, 
	PRIMARY KEY ("key")
);
INSERT INTO "meta" VALUES('version','0.1.0');
CREATE TABLE ports (
	service VARCHAR NOT NULL, 
	port INTEGER NOT NULL, 
	PRIMARY KEY (service)
);
INSERT INTO "ports" VALUES('chat',18001);
CREATE TABLE results (
	number INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	job VARCHAR NOT NULL, 
	target VARCHAR NOT NULL, 
	suite VARCHAR NOT NULL, 
	record VARCHAR NOT NULL, 
	UNIQUE (job, target)
);
INSERT INTO "results" VALUES(1,'j1','code','speed','{"job":"j1","target":"code","suite":"speed","suite_version":"1","suite_hash":"ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff","parameters":{"n":15},"provenance":{"argv":["llama-server"],"files":[{"size":17179869184}]},"metrics":[{"formula":"decode/1","value":51.5,"unit":"tokens/s","low":50.0,"high":53.0,"count":15,"larger_is_better":true,"by_case":{"c1":51.5}},{"formula":"drafts/1","value":null,"unit":"share","low":null,"high":null,"count":0,"larger_is_better":null,"by_case":{}}],"outcomes":{"ok":15},"started":1.0,"ended":2.0,"integrity":["foreign use"],"label":""}');
CREATE TABLE samples (
	number INTEGER NOT NULL, 
	job VARCHAR NOT NULL, 
	target VARCHAR NOT NULL, 
	"case" VARCHAR NOT NULL, 
	attempt INTEGER NOT NULL, 
	record VARCHAR NOT NULL, 
	PRIMARY KEY (number), 
	UNIQUE (job, target, "case"), 
	FOREIGN KEY(job) REFERENCES jobs (id) ON DELETE CASCADE
);
INSERT INTO "samples" VALUES(1,'j1','code','c1',1,'{"target":"code","case":"c1","outcome":"ok","score":2.5,"numbers":{"ttft":0.25},"details":{"said":"ünïcode 🚀"},"at":1001.0,"seconds":2.0}');
CREATE TABLE schedules (
	id VARCHAR NOT NULL, 
	record VARCHAR NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "schedules" VALUES('s1','{"id":"s1","cron":"0 2 * * 1-5","timezone":"Europe/Berlin","request":{"suite":"speed","targets":["code","chät"],"parameters":{"n":15,"deep":{"a":[1,null]}},"priority":0,"after":[],"not_before":null,"window":null,"dedupe":"","label":"","by":""},"created":1000.0,"enabled":true,"last":null}');
CREATE TABLE services (
	id VARCHAR NOT NULL, 
	state VARCHAR NOT NULL, 
	generation INTEGER NOT NULL, 
	since FLOAT NOT NULL, 
	record VARCHAR NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "services" VALUES('chat','ready',3,1000.5,'{"id":"chat","state":"ready","generation":3,"reason":"it answers","since":1000.5,"spec":{"id":"chat","preset":"gemma","engine":"llama.cpp","model":"/models/ä.gguf","served_name":null,"mmproj":null,"task":"chat","context":131072,"slots":null,"kv_cache":{"k":"q8_0","v":"q8_0"},"draft":{"type":"mtp","model":null,"n_max":2},"vram":{"sizes":[21495808000],"force":true},"ram":null,"memory_max":null,"cards":{"count":2,"exact":["GPU-1","GPU-2"]},"split":{"mode":"layer","ratio":[1.0,2.5]},"sampler":[["temperature",1.0],["top_p",0.95]],"aliases":["hermes"],"port":null,"startup_timeout":600.0,"drain":{"deadline":30.0,"then":"cut"},"stop_grace":20.0,"leave":"stop","restart":{"when":"failure","within":600.0,"at_most":3},"depends_on":[],"args":["--jinja"],"env":[["A","1"],["B",""]],"binary":null,"llama":{"gpu_layers":null,"cpu_moe_layers":null,"batch":null,"ubatch":null,"threads":null,"flash_attention":null,"prompt_cache":null},"vllm":{"gpu_memory_utilization":null,"kv_cache_dtype":null,"kv_cache_memory":null,"max_num_batched_tokens":null,"mamba_cache_mode":null,"quantization":null,"dtype":null,"enforce_eager":false},"container":{"image":"image","port":8000,"mounts":[{"source":"/a","target":"/b","read_only":true}],"command":[],"runtime":null},"command":{"cmd":["serve","--port","${PORT}"],"ready":"/v1/models","in_flight":null,"stop_cmd":[]}},"launch":{"engine":"llama.cpp","argv":["/usr/bin/llama-server","-m","/models/ä.gguf"],"env":[["CUDA_VISIBLE_DEVICES","GPU-1,GPU-2"]],"port":18001,"cards":["GPU-1","GPU-2"],"files":[{"path":"/models/ä.gguf","size":16106127360,"modified_ns":1700000000123456789,"inode":42}],"build":"b1234","cwd":null,"container":null,"fingerprint":"ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"},"footprint":{"cards":[17179869184,8589934592],"source":"learned","resident":10,"loading":20,"learned_peak":[17179869184,8589934592],"note":"note","parts":[{"name":"weights","cards":[1,1],"source":"estimated","host":0,"note":""}],"formula":null,"spread":null,"split":[],"warnings":[],"pool":null},"observed":[["GPU-1",17179869184],["GPU-2",8589934592]],"runner":"process","admitting":true,"ready_at":1001.25,"restarts":[1.0,2.0],"last_log":["a line","ünïcode 🚀 and \u0000 and \t"]}');
CREATE TABLE steps (
	switch VARCHAR NOT NULL, 
	phase VARCHAR NOT NULL, 
	"index" INTEGER NOT NULL, 
	state VARCHAR NOT NULL, 
	record VARCHAR NOT NULL, 
	PRIMARY KEY (switch, phase, "index"), 
	FOREIGN KEY(switch) REFERENCES switches (id) ON DELETE CASCADE
);
INSERT INTO "steps" VALUES('s0','do',0,'planned','{"phase":"do","index":0,"kind":"start","phrase":"start chat","service":"chat","generation":3,"cards":["GPU-1"],"state":"planned","started":null,"ended":null,"detail":""}');
INSERT INTO "steps" VALUES('s1','do',0,'running','{"phase":"do","index":0,"kind":"start","phrase":"start chat","service":"chat","generation":3,"cards":["GPU-1"],"state":"running","started":1.0,"ended":null,"detail":""}');
INSERT INTO "steps" VALUES('s1','undo',0,'planned','{"phase":"undo","index":0,"kind":"start","phrase":"start chat","service":"chat","generation":3,"cards":["GPU-1"],"state":"planned","started":null,"ended":null,"detail":""}');
CREATE TABLE switches (
	number INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	id VARCHAR NOT NULL, 
	state VARCHAR NOT NULL, 
	source VARCHAR NOT NULL, 
	target VARCHAR NOT NULL, 
	started FLOAT NOT NULL, 
	record VARCHAR NOT NULL, 
	UNIQUE (id)
);
INSERT INTO "switches" VALUES(1,'s0','committed','blank','code',1000.0,'{"id":"s0","request":{"mode":"code","start":null,"stop":null,"restart":null,"preset":null,"force":true,"on_failure":"blank","deadline":60.0,"by":"agent","exactly":null},"source":"blank","target":"code","state":"committed","started":1000.0,"ended":900.0,"reason":"","left":"in mode code","steps":[],"joined":0}');
INSERT INTO "switches" VALUES(3,'s1','running','blank','code',1000.0,'{"id":"s1","request":{"mode":"code","start":null,"stop":null,"restart":null,"preset":null,"force":true,"on_failure":"blank","deadline":60.0,"by":"agent","exactly":null},"source":"blank","target":"code","state":"running","started":1000.0,"ended":null,"reason":"","left":"","steps":[],"joined":0}');
CREATE INDEX ix_switches_state ON switches (state);
CREATE INDEX ix_measurements_fingerprint ON measurements (fingerprint);
CREATE INDEX ix_idempotency_at ON idempotency (at);
CREATE INDEX ix_jobs_state ON jobs (state);
CREATE UNIQUE INDEX ix_jobs_running ON jobs (state) WHERE state = 'running';
CREATE UNIQUE INDEX ix_jobs_dedupe ON jobs (dedupe) WHERE dedupe != '' AND state IN ('queued', 'running');
CREATE INDEX ix_job_waits_waits_for ON job_waits (waits_for);
CREATE INDEX ix_results_target ON results (target);
CREATE INDEX ix_results_suite ON results (suite);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('switches',3);
INSERT INTO "sqlite_sequence" VALUES('events',1);
INSERT INTO "sqlite_sequence" VALUES('jobs',3);
INSERT INTO "sqlite_sequence" VALUES('results',1);
COMMIT;
