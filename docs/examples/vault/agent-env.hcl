vault {
  address = "http://localhost:8000"
}
auto_auth {
  method "token_file" {
    config = { token_file_path = "token" }
  }
}
template_config {
  static_secret_render_interval = "1m"
  exit_on_retry_failure         = true
}
env_template "DB_USER" {
  contents             = "{{ with secret \"secret/data/shop/db\" }}{{ .Data.data.user }}{{ end }}"
  error_on_missing_key = true
}
env_template "DB_PASSWORD" {
  contents             = "{{ with secret \"secret/data/shop/db\" }}{{ .Data.data.password }}{{ end }}"
  error_on_missing_key = true
}
exec {
  command                   = ["./server"]
  restart_on_secret_changes = "always"
  restart_stop_signal       = "SIGTERM"
}
