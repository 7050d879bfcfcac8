vault {
  address = "http://localhost:8000"
}
auto_auth {
  method "token_file" {
    config = { token_file_path = "token" }
  }
}
template_config {
  exit_on_retry_failure = true
}
template {
  source               = "database.ini.ctmpl"
  destination          = "database.ini"
  perms                = "0600"
  error_on_missing_key = true
}
exit_after_auth = true
